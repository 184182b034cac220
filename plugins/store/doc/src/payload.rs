//! Payload bodies: decoded borrowing, checked against every rule of `FORMAT.md`, written canonically.

use std::borrow::Cow;
use std::ops::Range;

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize, Serializer};

use eidetica_kernel::Id;

use crate::place::{self, DEPTH_MAX, ElementId, PATH_BYTES_MAX};
use crate::value::NAN_BITS;

/// Version of the body, as its envelope says.
pub const BODY_VERSION: u16 = 1;
/// Most operations of a payload.
pub const OPERATIONS_MAX: usize = 262_144;
/// Most bytes of all encoded paths of a payload.
pub const PAYLOAD_PATH_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Longest position of an element, in bytes.
pub const POSITION_BYTES_MAX: usize = 255;

/// The entry that elements made in a transaction belong to until it has an id. No payload may name it.
pub(crate) const PROVISIONAL: Id = Id::from_bytes([0xff; 32]);

/// A value without parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
    #[serde(borrow, serialize_with = "bytes")]
    Bytes(Cow<'a, [u8]>),
}

/// What holds other values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Container {
    Map,
    List,
}

/// What an operation does to its path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Action<'a> {
    #[serde(borrow)]
    Put(Scalar<'a>),
    Reset(Container),
    Open(Container),
    Delete,
    #[serde(borrow, serialize_with = "bytes")]
    Place(Cow<'a, [u8]>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Segment<'a> {
    #[serde(borrow)]
    Key(Cow<'a, str>),
    Element(Id, u32),
    OwnElement(u32),
    Position(Id, u32),
    OwnPosition(u32),
}

#[derive(Serialize, Deserialize)]
struct Operation<'a> {
    depth: u16,
    #[serde(borrow)]
    segment: Segment<'a>,
    #[serde(borrow)]
    action: Action<'a>,
}

fn bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

impl Scalar<'_> {
    pub(crate) fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(value),
            Self::Int(value) => Scalar::Int(value),
            Self::Float(value) => Scalar::Float(value),
            Self::Text(value) => Scalar::Text(value.into_owned().into()),
            Self::Bytes(value) => Scalar::Bytes(value.into_owned().into()),
        }
    }

    /// The same, borrowed.
    pub(crate) fn reborrow(&self) -> Scalar<'_> {
        match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(value) => Scalar::Int(*value),
            Self::Float(value) => Scalar::Float(*value),
            Self::Text(value) => Scalar::Text(value.as_ref().into()),
            Self::Bytes(value) => Scalar::Bytes(value.as_ref().into()),
        }
    }
}

impl Action<'_> {
    /// The same, borrowed.
    pub(crate) fn reborrow(&self) -> Action<'_> {
        match self {
            Self::Put(scalar) => Action::Put(scalar.reborrow()),
            Self::Reset(container) => Action::Reset(*container),
            Self::Open(container) => Action::Open(*container),
            Self::Delete => Action::Delete,
            Self::Place(position) => Action::Place(position.as_ref().into()),
        }
    }

    /// `true` if what was below is gone.
    pub(crate) fn cuts(&self) -> bool {
        matches!(self, Self::Put(_) | Self::Reset(_) | Self::Delete)
    }

    /// The container that is here afterwards.
    pub(crate) fn container(&self) -> Option<Container> {
        match self {
            Self::Reset(container) | Self::Open(container) => Some(*container),
            _ => None,
        }
    }
}

/// Operations with their encoded paths, in pre-order.
#[derive(Debug, Default)]
pub(crate) struct Operations<'a> {
    paths: Vec<u8>,
    list: Vec<(Range<usize>, Action<'a>)>,
}

impl<'a> Operations<'a> {
    pub(crate) fn push(&mut self, path: &[u8], action: Action<'a>) {
        let start = self.paths.len();
        self.paths.extend_from_slice(path);
        self.list.push((start..self.paths.len(), action));
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Action<'a>)> {
        self.list.iter().map(|(path, action)| (&self.paths[path.clone()], action))
    }
}

/// Decodes a body; `own` is the entry it belongs to.
///
/// The error is the rule it breaks.
pub(crate) fn decode(body: &[u8], own: Id) -> Result<Operations<'_>, &'static str> {
    let mut operations = Operations::default();
    let (root, mut rest) = take::<Action<'_>>(body)?;
    check_action(&root)?;
    if matches!(root, Action::Place(_)) {
        return Err("it places the root");
    }
    /// An operation on the way to the current one.
    struct Parent<'a> {
        operation: usize,
        path_bytes: usize,
        container: Option<Container>,
        last_child: Option<Segment<'a>>,
    }
    let mut parents =
        vec![Parent { operation: 0, path_bytes: 0, container: root.container(), last_child: None }];
    let mut path = Vec::new();
    let (mut made, mut placed) = (Vec::new(), Vec::new());
    operations.push(&path, root);
    while !rest.is_empty() {
        let (Operation { depth, segment, action }, behind) = take::<Operation<'_>>(rest)?;
        rest = behind;
        check_action(&action)?;
        let depth = usize::from(depth);
        if depth == 0 || depth > parents.len() {
            return Err("an operation's parent isn't there");
        }
        if depth > DEPTH_MAX || operations.len() == OPERATIONS_MAX {
            return Err("it is too deep, or has too many operations");
        }
        parents.truncate(depth);
        // Cut to `depth`, which is within 1..=len.
        let Some(parent) = parents.last_mut() else { return Err("an operation's parent isn't there") };
        if parent.last_child.as_ref().is_some_and(|last| *last >= segment) {
            return Err("its operations aren't sorted, or a path is there twice");
        }
        let (needed, is_position) = match &segment {
            Segment::Key(_) => (Container::Map, false),
            Segment::Element(..) | Segment::OwnElement(_) => (Container::List, false),
            Segment::Position(..) | Segment::OwnPosition(_) => (Container::List, true),
        };
        if parent.container != Some(needed) {
            return Err("an operation's parent isn't opened as what it must be");
        }
        if is_position != matches!(action, Action::Place(_)) {
            return Err("positions are placed, and nothing else is");
        }
        path.truncate(parent.path_bytes);
        match &segment {
            Segment::Key(key) => place::push_key(&mut path, key),
            Segment::Element(entry, n) => place::push_element(&mut path, theirs(*entry, *n, own)?),
            Segment::Position(entry, n) => place::push_position(&mut path, theirs(*entry, *n, own)?),
            Segment::OwnElement(n) => {
                made.push((*n, parent.operation));
                place::push_element(&mut path, ElementId { entry: own, n: *n });
            }
            Segment::OwnPosition(n) => {
                placed.push((*n, parent.operation));
                place::push_position(&mut path, ElementId { entry: own, n: *n });
            }
        }
        parent.last_child = Some(segment);
        if path.len() > PATH_BYTES_MAX || operations.paths.len() + path.len() > PAYLOAD_PATH_BYTES_MAX {
            return Err("its paths are too long");
        }
        parents.push(Parent {
            operation: operations.len(),
            path_bytes: path.len(),
            container: action.container(),
            last_child: None,
        });
        operations.push(&path, action);
    }
    made.sort_unstable();
    placed.sort_unstable();
    if made != placed || made.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
        return Err("an element of its own isn't placed once, where it is made");
    }
    Ok(operations)
}

/// Writes operations as a body; elements of `own` become its own.
pub(crate) fn encode<'a, 'b: 'a>(
    operations: impl Iterator<Item = (&'a [u8], &'a Action<'b>)>,
    own: Id,
) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for (path, action) in operations {
        let Some(parent_end) = place::parent_end(path) else {
            write(action, &mut body)?;
            continue;
        };
        let depth = u16::try_from(place::depth(path)).ok()?;
        let segment = match place::step(&path[parent_end..])? {
            place::Step::Key(key) => Segment::Key(key),
            place::Step::Element(ElementId { entry, n }) if entry == own => Segment::OwnElement(n),
            place::Step::Element(ElementId { entry, n }) => Segment::Element(entry, n),
            place::Step::Position(ElementId { entry, n }) if entry == own => Segment::OwnPosition(n),
            place::Step::Position(ElementId { entry, n }) => Segment::Position(entry, n),
            place::Step::Order(..) => return None,
        };
        write(&depth, &mut body)?;
        write(&segment, &mut body)?;
        write(action, &mut body)?;
    }
    Some(body)
}

fn theirs(entry: Id, n: u32, own: Id) -> Result<ElementId, &'static str> {
    if entry == own || entry == PROVISIONAL {
        return Err("it names its own entry");
    }
    Ok(ElementId { entry, n })
}

fn check_action(action: &Action<'_>) -> Result<(), &'static str> {
    match action {
        Action::Put(Scalar::Float(value)) if value.is_nan() && value.to_bits() != NAN_BITS => {
            Err("a float isn't canonical")
        }
        Action::Place(position) if position.len() > POSITION_BYTES_MAX => Err("a position is too long"),
        _ => Ok(()),
    }
}

/// Decodes one value and checks that encoding it again gives the same bytes.
fn take<'a, T: Deserialize<'a> + Serialize>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), &'static str> {
    let (value, rest) =
        postcard::take_from_bytes::<T>(bytes).map_err(|_| "it isn't a sequence of operations")?;
    let taken = &bytes[..bytes.len() - rest.len()];
    match postcard::serialize_with_flavor(&value, Compare(taken)) {
        Ok(true) => Ok((value, rest)),
        _ => Err("it isn't in canonical form"),
    }
}

fn write<T: Serialize>(value: &T, body: &mut Vec<u8>) -> Option<()> {
    postcard::serialize_with_flavor(value, Append(body)).ok()
}

/// Compares what is written with what is expected; `true` if all of it came.
struct Compare<'a>(&'a [u8]);

impl Flavor for Compare<'_> {
    type Output = bool;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0 = self.0.strip_prefix(data).ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.try_extend(&[data])
    }

    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.0.is_empty())
    }
}

struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
