//! From the segments that people write to the path in the document that they mean.

use eidetica_kernel::store::RowReader;
use eidetica_kernel::{Error, ErrorKind, Result};

use crate::path::{self, Segment};
use crate::payload::Container;
use crate::place::{self, ElementId};
use crate::read::{self, Elements, Node};

/// A path in the document, and what is there.
pub(crate) struct Place {
    pub(crate) path: Vec<u8>,
    pub(crate) node: Option<Node>,
}

/// Follows segments: keys in maps, indexes in lists. What isn't there yet is taken as keys of maps to come.
pub(crate) fn resolve(rows: &dyn RowReader, segments: &[Segment], doing: &'static str) -> Result<Place> {
    let mut found = Vec::new();
    let mut followed = 0;
    loop {
        // As far as it can be maps all the way: one read.
        let mut path = found.clone();
        for segment in &segments[followed..] {
            match segment {
                Segment::Key(key) => place::push_key(&mut path, key),
                Segment::Index(_) => break,
            }
        }
        if path.len() > place::PATH_BYTES_MAX || segments.len() > place::DEPTH_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                doing,
                short(segments),
                format_args!(
                    "paths have at most {} segments and {} bytes",
                    place::DEPTH_MAX,
                    place::PATH_BYTES_MAX
                ),
            ));
        }
        let known = place::depth(&found);
        let reached = read::reach(rows, &path)?;
        if reached.segments < known {
            // An element that was named by its id isn't there.
            return Err(missing(doing, segments));
        }
        followed += reached.segments - known;
        let here = place::ends(&path).nth(reached.segments).map_or(&path[..], |end| &path[..end]);
        let Some(segment) = segments.get(followed) else {
            return Ok(Place { path: here.to_vec(), node: Some(reached.node) });
        };
        match (reached.node.container(), segment) {
            (Some(Container::List), segment) => {
                let id = element(rows, here, &reached.node, segment, segments, doing)?;
                found = here.to_vec();
                place::push_element(&mut found, id);
                followed += 1;
            }
            (_, Segment::Key(_))
                if segments[followed..].iter().all(|segment| matches!(segment, Segment::Key(_))) =>
            {
                return Ok(Place { path, node: None });
            }
            (_, Segment::Key(_)) => return Err(missing(doing, segments)),
            (_, Segment::Index(index)) => {
                let reason = format!("the place above index {index} isn't a list");
                return Err(Error::new(ErrorKind::InvalidInput, doing, short(segments), reason));
            }
        }
    }
}

fn element(
    rows: &dyn RowReader,
    list: &[u8],
    node: &Node,
    segment: &Segment,
    segments: &[Segment],
    doing: &'static str,
) -> Result<ElementId> {
    if let Some(index) = segment.index() {
        return nth(rows, list, node, index)?.ok_or_else(|| missing(doing, segments));
    }
    let named = match segment {
        Segment::Key(key) => ElementId::parse(key),
        Segment::Index(_) => None,
    };
    named.ok_or_else(|| {
        let reason = format!("{} is a list, and {segment} isn't an index", described(list));
        Error::new(ErrorKind::InvalidInput, doing, short(segments), reason)
            .hint("lists take numbers from 0; append with push")
    })
}

/// The `index`-th element of a list.
pub(crate) fn nth(rows: &dyn RowReader, list: &[u8], node: &Node, index: usize) -> Result<Option<ElementId>> {
    let mut elements = Elements::of(rows, list, node.floor);
    let mut at = 0;
    while let Some(element) = elements.next()? {
        if at == index {
            return Ok(Some(element.id));
        }
        at += 1;
    }
    Ok(None)
}

pub(crate) fn missing(doing: &'static str, segments: &[Segment]) -> Error {
    Error::new(ErrorKind::NotFound, doing, short(segments), "there is nothing")
}

fn described(path: &[u8]) -> String {
    if path.is_empty() { "the root".to_owned() } else { place::text(path) }
}

/// The text of a path, cut for messages.
pub(crate) fn short(segments: &[Segment]) -> String {
    let mut text = path::text(segments);
    if text.chars().count() > 200 {
        text = text.chars().take(200).chain("…".chars()).collect();
    }
    text
}
