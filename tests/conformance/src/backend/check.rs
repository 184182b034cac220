//! Small checks that say what was expected and what was found.

use bytes::Bytes;
use eidetica_kernel::backend::{Batch, Page, Row, Scan, for_each_row};
use eidetica_kernel::error::Result;

use crate::check::{Outcome, fail};

pub(super) fn put(key: &[u8], value: &[u8]) -> Batch {
    puts(&[(key, value)])
}

pub(super) fn puts(rows: &[(&[u8], &[u8])]) -> Batch {
    let mut batch = Batch::new();
    for (key, value) in rows {
        batch.put(key.to_vec(), value.to_vec());
    }
    batch
}

pub(super) fn delete(key: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.delete(key.to_vec());
    batch
}

pub(super) fn bytes(value: &[u8]) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(value))
}

/// Every row of a scan, read page by page; fails where a page breaks the contract.
pub(super) fn all_rows(scan: Scan, mut page: impl FnMut(&Scan) -> Result<Page>) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let mut broken = None;
    let pages = |scan: &Scan| {
        let found = page(scan)?;
        if found.rows.len() > scan.page_rows() {
            broken =
                Some(format!("a page of {} rows, {} were asked for", found.rows.len(), scan.page_rows()));
        } else if found.more && found.rows.is_empty() {
            broken = Some("an empty page that says there is more".to_owned());
        } else if let Some((key, _)) = found.rows.iter().find(|(key, _)| !scan.contains(key)) {
            broken = Some(format!("the key {:?} lies outside of the range", key));
        }
        // A broken page may never end the scan.
        if broken.is_some() { Ok(Page::default()) } else { Ok(found) }
    };
    for_each_row(scan, pages, |row| {
        rows.push(row);
        Ok(())
    })?;
    match broken {
        Some(broken) => fail(format!("{broken} (B3)")),
        None => Ok(rows),
    }
}

/// A small generator (xorshift64*, Vigna 2016): the same numbers for the same seed, everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % end.max(1)
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
