//! What a transaction has staged in one table: one write per row, and the rows that these give.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eidetica_kernel::entry::PAYLOAD_BYTES_MAX;
use eidetica_kernel::store::{Draft, DraftSlot, RowChanges, RowOverlay, RowReader, Stamp, StoreTx};
use eidetica_kernel::{Error, ErrorKind, HybridClock, Id, Result};

use crate::fold::fold;
use crate::id::{Ids, RowId};
use crate::payload::{self, Action, BODY_VERSION, FieldWrite, RowWrite};

/// What the envelope takes of a payload, at most.
const ENVELOPE_BYTES: usize = 64;
const STAGING: &str = "writing to a table";
/// What is staged is newer than everything.
const PROVISIONAL: Stamp =
    Stamp { clock: HybridClock::from_bits(u64::MAX), entry: Id::from_bytes([0xff; 32]) };

/// New values of a row's fields; `None` removes one.
pub(crate) type Writes = BTreeMap<String, Option<Vec<u8>>>;

/// A table in its transaction: reads see what was staged.
#[derive(Clone)]
pub(crate) struct Access(pub(crate) Arc<dyn StoreTx>);

impl Access {
    /// Reads with what is staged. The transaction's lock is held only to find it.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&dyn RowReader) -> Result<R>) -> Result<R> {
        let rows = self.0.rows()?;
        let staged = match &mut *self.0.draft()? {
            None => None,
            slot => Some(find(slot)?),
        };
        match staged {
            None => read(&*rows),
            Some(staged) => lock(&staged).over(&*rows, |overlay| read(overlay)),
        }
    }

    /// Stages a write to a row.
    pub(crate) fn stage(&self, id: RowId, action: Action, writes: Writes) -> Result<()> {
        let rows = self.0.rows()?;
        let staged = find(&mut *self.0.draft_mut()?)?;
        lock(&staged).stage(&*rows, id, action, writes)
    }

    /// An id above all that this transaction made before.
    pub(crate) fn new_id(&self) -> Result<RowId> {
        let (now, random) = (self.0.now(), self.0.random());
        let staged = find(&mut *self.0.draft_mut()?)?;
        Ok(lock(&staged).ids.next(now, random))
    }
}

fn find(slot: &mut DraftSlot) -> Result<Arc<Mutex<Staged>>> {
    let draft = slot.get_or_insert_with(|| Box::new(TableDraft(Arc::default())));
    match draft.as_any_mut().downcast_mut::<TableDraft>() {
        Some(draft) => Ok(draft.0.clone()),
        None => Err(Error::new(ErrorKind::Bug, STAGING, "", "another kind's handle staged something here")),
    }
}

fn lock(staged: &Mutex<Staged>) -> MutexGuard<'_, Staged> {
    // Every change is made as a whole after what can fail: a panic elsewhere leaves it as it was.
    staged.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The draft as the transaction keeps it; handles share it.
struct TableDraft(Arc<Mutex<Staged>>);

#[derive(Default)]
struct Staged {
    rows: BTreeMap<RowId, (Action, Writes)>,
    changes: RowChanges,
    ids: Ids,
    /// It was encoded: nothing more can be staged.
    sealed: bool,
}

impl Draft for TableDraft {
    fn encode(&mut self) -> Result<Option<(u16, Vec<u8>)>> {
        let mut staged = lock(&self.0);
        staged.sealed = true;
        if staged.rows.is_empty() {
            return Ok(None);
        }
        let mut body = Vec::new();
        for (id, (action, writes)) in &staged.rows {
            payload::encode(&row_write(*id, *action, writes), &mut body).ok_or_else(|| {
                Error::new(ErrorKind::Bug, "encoding a payload", id, "a row can't be written")
            })?;
            let most = PAYLOAD_BYTES_MAX - ENVELOPE_BYTES;
            if body.len() > most {
                let reason = format!("what is staged takes more than {most} bytes");
                return Err(Error::new(ErrorKind::LimitExceeded, STAGING, "", reason)
                    .hint("commit more often, fewer rows at a time"));
            }
        }
        Ok(Some((BODY_VERSION, body)))
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl Staged {
    fn over<R>(
        &mut self,
        rows: &dyn RowReader,
        work: impl FnOnce(&mut RowOverlay<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut overlay = RowOverlay::with_changes(rows, std::mem::take(&mut self.changes));
        let answer = work(&mut overlay);
        self.changes = overlay.into_changes();
        answer
    }

    fn stage(&mut self, rows: &dyn RowReader, id: RowId, action: Action, writes: Writes) -> Result<()> {
        if self.sealed {
            return Err(Error::new(ErrorKind::Closed, STAGING, id, "its transaction has ended"));
        }
        self.over(rows, |overlay| fold(overlay, &[row_write(id, action, &writes)], PROVISIONAL))?;
        let (staged_action, staged) = self.rows.entry(id).or_insert((action, Writes::new()));
        if action != Action::Update {
            *staged_action = action;
        }
        if action == Action::Delete {
            staged.values_mut().for_each(|value| *value = None);
        }
        staged.extend(writes);
        Ok(())
    }
}

fn row_write(id: RowId, action: Action, writes: &Writes) -> RowWrite<'_> {
    let fields = writes.iter().map(|(name, value)| FieldWrite { name, value: value.as_deref() }).collect();
    RowWrite { id: *id.as_bytes(), action, fields }
}
