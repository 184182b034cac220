//! What two replicas are compared by.

use std::collections::{BTreeMap, BTreeSet};

use eidetica::{Database, ErrorKind, Id, Result, testing};

/// Everything that replicas which hold the same entries have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The newest entries.
    pub tips: BTreeSet<Id>,
    /// How many entries there are; void ones that nothing depends on don't count.
    pub entries: u64,
    /// The digest of each store that has rows.
    pub digests: BTreeMap<(String, String), [u8; 32]>,
    /// Each of these stores as JSON.
    pub json: BTreeMap<String, String>,
    /// Who holds what, and which entry decided.
    pub permissions: Vec<String>,
}

/// The state of a database as this replica sees it.
///
/// # Errors
/// Those of the backend.
pub fn state(database: &Database) -> Result<State> {
    let mut digests = testing::state_digests(database)?;
    // A store that only void entries name is known to those who hold them, and has no rows.
    digests.retain(|_, digest| *digest != [0; 32]);
    let mut json = BTreeMap::new();
    for (name, kind) in digests.keys().filter(|(_, kind)| kind.starts_with("doc/")) {
        let mut text = Vec::new();
        let text = match database.export_json(name, &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            // Bytes have no place in JSON; the digest speaks for them.
            Err(error) if error.kind() == ErrorKind::Unsupported => error.to_string(),
            Err(error) => return Err(error),
        };
        json.insert(format!("{name} {kind}"), text);
    }
    Ok(State {
        tips: database.tips().into_iter().collect(),
        entries: database.entry_count(),
        digests,
        json,
        permissions: database.permissions().iter().map(|entry| format!("{entry:?}")).collect(),
    })
}

/// Re-checks a database and fails the test with what is wrong.
///
/// # Panics
/// If anything is.
pub fn assert_clean(database: &Database) {
    let verified = database.verify().expect("the backend can be read");
    assert!(verified.is_clean(), "{:#?}", verified.problems);
}
