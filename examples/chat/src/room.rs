//! The database side of a room: a table of messages, a table of who is here, and what changes in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eidetica::auth::Permission;
use eidetica::backend::{Backend, File, InMemory};
use eidetica::crdt::Doc;
use eidetica::store::{RowId, Table};
use eidetica::sync::{Address, ConnectionState, InviteOptions, SyncPeerInfo, Ticket, Timestamp};
use eidetica::{Database, Event, Instance, KeyId, Result, Subscription, User};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

const MESSAGES: &str = "messages";
const MEMBERS: &str = "members";
/// How often a member says that it is here. Each time is an entry that stays, so it is modest.
const BEAT_EVERY: Duration = Duration::from_secs(12);
/// How long a member counts as here after it said so: two beats may be late.
const HERE_FOR: Duration = Duration::from_secs(30);

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The row of whoever wrote it, in the table of members.
    pub(crate) by: RowId,
    /// How they called themselves.
    pub(crate) name: String,
    pub(crate) text: String,
    /// When, in milliseconds since 1970 by their clock; after every message that they had seen.
    pub(crate) at: u64,
}

/// A member's row: one for each key, rewritten by its owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Presence {
    name: String,
    /// The member's node, and where it listens: so that members find each other, whoever made the room.
    peer: String,
    addresses: Vec<String>,
    /// When it was here last, in milliseconds since 1970 by its clock.
    seen: u64,
}

/// A member, for people to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: RowId,
    pub(crate) name: String,
    pub(crate) here: bool,
}

/// A row that may not be what this version of the program writes: whoever may write to a room can write anything.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Row<T> {
    Known(T),
    #[serde(skip_serializing)]
    Foreign(IgnoredAny),
}

/// This node: where rooms are kept, and who is in them.
pub(crate) struct Home {
    instance: Instance,
    user: User,
    name: String,
    /// Where the address it listens at is kept: members look for it there when it comes back.
    kept_address: Option<PathBuf>,
}

/// A room that is open.
pub(crate) struct Room {
    home: Home,
    database: Database,
    me: RowId,
    /// By time, then by id: the same order on every node.
    messages: BTreeMap<(u64, RowId), Message>,
    members: BTreeMap<RowId, Presence>,
    changes: Subscription,
    beaten: Option<Timestamp>,
    /// The ticket it was joined with; another member may use it as well.
    joined_with: Option<Ticket>,
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus(since)
}

impl Home {
    /// Opens the folder, or keeps everything in memory; `name` is what others see.
    pub(crate) fn open(folder: Option<&Path>, name: &str) -> Result<Self> {
        let backend: Box<dyn Backend> = match folder {
            Some(folder) => Box::new(File::open(folder.join("rooms"))?),
            None => Box::new(InMemory::new()),
        };
        let instance = Instance::open(backend)?.enable_sync()?;
        if instance.list_users()?.is_empty() {
            instance.create_user("me", None)?;
        }
        let user = instance.login_user("me", None)?;
        let kept_address = folder.map(|folder| folder.join("address"));
        Ok(Self { instance, user, name: name.to_owned(), kept_address })
    }

    /// Talks over HTTP.
    pub(crate) fn enable_http(&self) -> Result<()> {
        self.instance.sync()?.enable_http_transport()
    }

    /// Talks over iroh.
    #[cfg(feature = "iroh")]
    pub(crate) fn enable_iroh(
        &self,
        transport: eidetica::sync::transports::iroh::IrohTransport,
    ) -> Result<()> {
        self.instance.sync()?.enable_iroh_transport_with_config(transport)
    }

    /// Listens over what is enabled; over HTTP at `address`, else where it did before, if nobody else does now, else at a free port
    /// of this machine.
    pub(crate) async fn listen(&self, address: Option<&str>) -> Result<()> {
        let sync = self.instance.sync()?;
        match (address, self.kept_address.as_ref().and_then(|file| std::fs::read_to_string(file).ok())) {
            (Some(address), _) => sync.start_server_async(address).await?,
            (None, Some(kept)) if sync.start_server_async(kept.trim()).await.is_ok() => {}
            (None, _) => sync.start_server_async("127.0.0.1:0").await?,
        }
        let http = sync.get_server_addresses()?.into_iter().find(|address| address.transport_type == "http");
        if let (Some(file), Some(http)) = (&self.kept_address, http) {
            // Without it, it only takes members longer to find each other.
            let _ = std::fs::write(file, http.address);
        }
        Ok(())
    }

    /// The room of this name, if it is kept here.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Database>> {
        for id in self.instance.list_databases()? {
            let database = self.user.open_database(id)?;
            if database.name()?.as_deref() == Some(name) {
                return Ok(Some(database));
            }
        }
        Ok(None)
    }

    /// Makes a room.
    pub(crate) fn create(self, name: &str) -> Result<Room> {
        let mut settings = Doc::new();
        settings.set_string("name", name);
        let database = self.user.create_database(settings, self.user.get_default_key()?)?;
        self.enter(database)
    }

    /// Enters the room of a ticket. If it is kept here, nobody needs to be reached for that.
    pub(crate) async fn join(self, ticket: &Ticket) -> Result<Room> {
        let database = match self.instance.has_database(ticket.database())? {
            true => self.user.open_database(ticket.database())?,
            false => self.user.join(ticket).await?,
        };
        let room = self.enter(database)?;
        Ok(Room { joined_with: Some(ticket.clone()), ..room })
    }

    /// Enters a room that is kept here.
    pub(crate) fn enter(self, database: Database) -> Result<Room> {
        let me = row_of(&self.user.get_default_key()?);
        // Before the first look, so that nothing falls between the two.
        let changes = database.subscribe()?;
        let (messages, members) = (BTreeMap::new(), BTreeMap::new());
        let mut room =
            Room { home: self, database, me, messages, members, changes, beaten: None, joined_with: None };
        room.read_all()?;
        Ok(room)
    }
}

/// The row of a member: the first half of its key.
fn row_of(key: &KeyId) -> RowId {
    let mut id = [0; 16];
    id.copy_from_slice(&key.as_bytes()[..16]);
    RowId::from_bytes(id)
}

impl Room {
    /// The room's name.
    pub(crate) fn name(&self) -> Result<String> {
        Ok(self.database.name()?.unwrap_or_else(|| "a room without a name".to_owned()))
    }

    /// This node's row among the members.
    pub(crate) fn me(&self) -> RowId {
        self.me
    }

    /// The messages, oldest first.
    pub(crate) fn messages(&self) -> impl DoubleEndedIterator<Item = &Message> + ExactSizeIterator {
        self.messages.values()
    }

    /// The members: those who are here first, then by name.
    pub(crate) fn members(&self, now: Timestamp) -> Vec<Member> {
        let member = |(id, presence): (&RowId, &Presence)| Member {
            id: *id,
            name: presence.name.clone(),
            here: *id == self.me || now.since(Timestamp::from_millis(presence.seen)) < HERE_FOR,
        };
        let mut members: Vec<_> = self.members.iter().map(member).collect();
        members.sort_by(|a, b| b.here.cmp(&a.here).then_with(|| a.name.cmp(&b.name)));
        members
    }

    /// How many nodes there are links to.
    pub(crate) fn links(&self) -> Result<usize> {
        let peers = self.home.instance.sync()?.list_peers()?;
        Ok(peers.iter().filter(|peer| peer.connection_state == ConnectionState::Connected).count())
    }

    /// A ticket for others. Only the room's maker can invite; a member passes on the ticket it came with.
    pub(crate) fn ticket(&self) -> Result<Ticket> {
        let any_number = InviteOptions { uses: None, ..InviteOptions::default() };
        match (self.database.invite(Permission::Write, any_number), &self.joined_with) {
            (Err(error), Some(ticket)) if error.is_permission_denied() => Ok(ticket.clone()),
            (ticket, _) => ticket,
        }
    }

    /// Writes a message.
    pub(crate) async fn post(&self, text: &str, now: Timestamp) -> Result<()> {
        // A clock that is behind doesn't put an answer before its question.
        let last = self.messages.keys().next_back().map_or(0, |(at, _)| *at);
        let at = now.as_millis().max(last.saturating_add(1));
        let message = Message { by: self.me, name: self.home.name.clone(), text: text.to_owned(), at };
        let transaction = self.database.new_transaction()?;
        transaction.get_store::<Table<Message>>(MESSAGES)?.insert(&message)?;
        transaction.commit_async().await.map(drop)
    }

    /// Says that this member is here, unless it did so just now. Returns whether it said so.
    pub(crate) async fn beat(&mut self, now: Timestamp) -> Result<bool> {
        if self.beaten.is_some_and(|last| (last..last.plus(BEAT_EVERY)).contains(&now)) {
            return Ok(false);
        }
        self.beaten = Some(now);
        let addresses = self.database.ticket()?.addresses().iter().map(Address::to_string).collect();
        let presence = Presence {
            name: self.home.name.clone(),
            peer: self.home.instance.device_key().to_string(),
            addresses,
            seen: now.as_millis(),
        };
        let transaction = self.database.new_transaction()?;
        let members = transaction.get_store::<Table<Presence>>(MEMBERS)?;
        match members.update(&self.me, &presence) {
            Err(error) if error.is_not_found() => members.put(&self.me, &presence)?,
            updated => updated?,
        }
        transaction.commit_async().await?;
        Ok(true)
    }

    /// Waits until something has changed and takes it in; `false` at the end. Dropping the future loses nothing.
    pub(crate) async fn changed(&mut self) -> Result<bool> {
        let Some(first) = self.changes.next().await else { return Ok(false) };
        let mut event = Some(first?);
        while let Some(change) = event {
            self.take_in(change)?;
            event = self.changes.try_next()?;
        }
        Ok(true)
    }

    /// Leaves the room, and writes everything out.
    pub(crate) fn close(self) -> Result<()> {
        self.home.instance.close()
    }

    fn take_in(&mut self, event: Event) -> Result<()> {
        let Event::Change(change) = event else { return self.read_all() };
        // Paths are `id`, or `id.field`; of very large changes "", the whole table.
        let rows: Option<BTreeSet<RowId>> =
            change.paths.iter().map(|path| path.split('.').next()?.parse().ok()).collect();
        let Some(rows) = rows else { return self.read_all() };
        for id in rows {
            match change.store.as_str() {
                MESSAGES => self.hear(id, read(&self.database, MESSAGES, &id)?),
                MEMBERS => self.meet(id, read(&self.database, MEMBERS, &id)?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_all(&mut self) -> Result<()> {
        self.messages.clear();
        for (id, message) in read_rows(&self.database, MESSAGES)? {
            self.hear(id, Some(message));
        }
        let members = read_rows(&self.database, MEMBERS)?;
        self.members.retain(|id, _| members.iter().any(|(there, _)| there == id));
        members.into_iter().try_for_each(|(id, presence)| self.meet(id, Some(presence)))
    }

    fn hear(&mut self, id: RowId, message: Option<Message>) {
        if let Some(message) = message {
            self.messages.insert((message.at, id), message);
        }
    }

    /// Takes in a member's row; where its node has moved, keeps the room in sync with it there.
    fn meet(&mut self, id: RowId, presence: Option<Presence>) -> Result<()> {
        let Some(presence) = presence else { return Ok(()) };
        let known = self.members.insert(id, presence.clone());
        let moved =
            known.is_none_or(|known| known.peer != presence.peer || known.addresses != presence.addresses);
        if id == self.me || !moved || presence.peer == self.home.instance.device_key().to_string() {
            return Ok(());
        }
        let sync = self.home.instance.sync()?;
        let addresses: Vec<Address> =
            presence.addresses.iter().filter_map(|address| address.parse().ok()).take(8).collect();
        for old in sync.get_peer_addresses(&presence.peer).unwrap_or_default() {
            if !addresses.is_empty() && !addresses.contains(&old) {
                sync.remove_peer_address(&presence.peer, &old)?;
            }
        }
        sync.register_sync_peer(SyncPeerInfo {
            peer_pubkey: presence.peer,
            tree_id: *self.database.root_id(),
            addresses,
            auth: None,
            display_name: Some(presence.name),
        })?;
        Ok(())
    }
}

fn read<T>(database: &Database, store: &str, id: &RowId) -> Result<Option<T>>
where
    T: Serialize + DeserializeOwned + 'static,
{
    match database.get_store_viewer::<Table<Row<T>>>(store)?.get(id) {
        Ok(Row::Known(row)) => Ok(Some(row)),
        Ok(Row::Foreign(_)) => Ok(None),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_rows<T>(database: &Database, store: &str) -> Result<Vec<(RowId, T)>>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let table = database.get_store_viewer::<Table<Row<T>>>(store)?;
    let known = |row: Result<(RowId, Row<T>)>| match row {
        Ok((id, Row::Known(row))) => Some(Ok((id, row))),
        Ok((_, Row::Foreign(_))) => None,
        Err(error) => Some(Err(error)),
    };
    table.scan().filter_map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits, by watching the room, until something holds of it.
    async fn until(what: &str, room: &mut Room, holds: impl Fn(&Room) -> bool) {
        let watch = async {
            while !holds(room) {
                assert!(room.changed().await.unwrap(), "the room was closed");
            }
        };
        tokio::time::timeout(Duration::from_secs(30), watch)
            .await
            .unwrap_or_else(|_| panic!("within 30 s: {what}"));
    }

    /// Over what a node of a test talks.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Over {
        Http,
        #[cfg(feature = "iroh")]
        Iroh,
        #[cfg(feature = "iroh")]
        Both,
    }

    const EVERY_WAY: &[Over] = &[
        Over::Http,
        #[cfg(feature = "iroh")]
        Over::Iroh,
        #[cfg(feature = "iroh")]
        Over::Both,
    ];

    impl Over {
        fn enable(self, home: &Home) {
            if matches!(self, Self::Http) {
                home.enable_http().unwrap();
            }
            #[cfg(feature = "iroh")]
            if !matches!(self, Self::Http) {
                use eidetica::sync::transports::iroh::{IrohTransport, RelayMode};
                let local = IrohTransport::builder().relay_mode(RelayMode::Disabled);
                let local = local.bind_address("127.0.0.1:0".parse().unwrap());
                home.enable_iroh(local.build().unwrap()).unwrap();
                if matches!(self, Self::Both) {
                    home.enable_http().unwrap();
                }
            }
        }

        async fn home(self, folder: Option<&Path>, name: &str) -> Home {
            let home = Home::open(folder, name).unwrap();
            self.enable(&home);
            home.listen(Some("127.0.0.1:0")).await.unwrap();
            home
        }
    }

    async fn home(folder: Option<&Path>, name: &str) -> Home {
        Over::Http.home(folder, name).await
    }

    /// Enters a room again that is kept in a folder, wherever the node listened before.
    async fn again(folder: &Path, name: &str) -> Room {
        let home = Home::open(Some(folder), name).unwrap();
        home.enable_http().unwrap();
        home.listen(None).await.unwrap();
        let database = home.find("den").unwrap().unwrap();
        home.enter(database).unwrap()
    }

    async fn alice_and_bob() -> (Room, Room) {
        let alice = home(None, "alice").await.create("den").unwrap();
        let bob = home(None, "bob").await.join(&alice.ticket().unwrap()).await.unwrap();
        (alice, bob)
    }

    fn texts(room: &Room) -> Vec<&str> {
        room.messages().map(|message| &message.text[..]).collect()
    }

    fn says(text: &'static str) -> impl Fn(&Room) -> bool {
        move |room| texts(room).contains(&text)
    }

    fn here(room: &Room, now: Timestamp) -> Vec<String> {
        room.members(now).into_iter().filter(|member| member.here).map(|member| member.name).collect()
    }

    #[tokio::test]
    async fn messages_reach_everybody_in_one_order() {
        let (mut alice, mut bob) = alice_and_bob().await;
        assert_eq!(bob.name().unwrap(), "den");
        alice.post("hello", now()).await.unwrap();
        until("alice's message", &mut bob, says("hello")).await;
        // An answer comes behind what it answers to, even by a clock that is far behind.
        bob.post("hello back", Timestamp::from_millis(5)).await.unwrap();
        until("bob's answer", &mut alice, says("hello back")).await;
        until("the own answer", &mut bob, says("hello back")).await;
        assert_eq!(texts(&alice), ["hello", "hello back"]);
        assert_eq!(texts(&alice), texts(&bob));
        let last = alice.messages().next_back().unwrap();
        assert_eq!((&last.name[..], last.by), ("bob", bob.me()));
    }

    #[tokio::test]
    async fn a_room_works_over_whatever_its_members_talk() {
        for over in EVERY_WAY {
            let mut alice = over.home(None, "alice").await.create("den").unwrap();
            let ticket = alice.ticket().unwrap();
            let ways: Vec<&str> = ticket.addresses().iter().map(|at| &at.transport_type[..]).collect();
            match over {
                Over::Http => assert_eq!(ways, ["http"]),
                #[cfg(feature = "iroh")]
                Over::Iroh => assert_eq!(ways, ["iroh"]),
                #[cfg(feature = "iroh")]
                Over::Both => assert_eq!(ways, ["iroh", "http"]),
            }
            // Who has but one of the ways joins by that one.
            let mut members = Vec::new();
            for theirs in EVERY_WAY.iter().filter(|theirs| *over == **theirs || ways.len() > 1) {
                let text = format!("hello over {theirs:?}");
                let member = theirs.home(None, &text).await.join(&ticket).await.unwrap();
                member.post(&text, now()).await.unwrap();
                until("the new member's message", &mut alice, |room| texts(room).contains(&&text[..])).await;
                members.push(member);
            }
            alice.post("hello all", now()).await.unwrap();
            for member in &mut members {
                until("alice's message", member, says("hello all")).await;
            }
        }
    }

    #[tokio::test]
    async fn messages_of_one_moment_are_ordered_by_their_ids() {
        let (mut alice, mut bob) = alice_and_bob().await;
        let put = |room: &Room, id: u8, at: u64, text: &str| {
            let message = Message { by: room.me(), name: "x".into(), text: text.into(), at };
            let transaction = room.database.new_transaction().unwrap();
            let table = transaction.get_store::<Table<Message>>(MESSAGES).unwrap();
            table.put(&RowId::from_bytes([id; 16]), &message).unwrap();
            transaction.commit().unwrap();
        };
        put(&bob, 1, 1_000, "first");
        put(&alice, 3, 1_000, "third");
        put(&bob, 2, 1_000, "second");
        put(&alice, 9, 500, "zeroth");
        for room in [&mut alice, &mut bob] {
            until("all four", room, |room| room.messages().len() == 4).await;
            assert_eq!(texts(room), ["zeroth", "first", "second", "third"]);
            room.read_all().unwrap();
            assert_eq!(texts(room), ["zeroth", "first", "second", "third"]);
        }
    }

    #[tokio::test]
    async fn members_are_here_until_30_s_after_they_said_so() {
        let (mut alice, mut bob) = alice_and_bob().await;
        let start = now();
        assert!(alice.beat(start).await.unwrap() && bob.beat(start).await.unwrap());
        until("bob", &mut alice, |room| room.members.len() == 2).await;
        until("alice", &mut bob, |room| room.members.len() == 2).await;
        assert_eq!(here(&alice, start), ["alice", "bob"]);
        assert_eq!(here(&alice, start.plus(Duration::from_millis(29_999))), ["alice", "bob"]);
        assert_eq!(here(&alice, start.plus(HERE_FOR)), ["alice"]);
        assert_eq!(here(&bob, start.plus(HERE_FOR)), ["bob"]);
        let later = start.plus(Duration::from_secs(25));
        assert!(bob.beat(later).await.unwrap());
        let seen = later.as_millis();
        until("bob's beat", &mut alice, |room| room.members.values().any(|member| member.seen == seen)).await;
        assert_eq!(here(&alice, start.plus(HERE_FOR)), ["alice", "bob"]);
    }

    #[tokio::test]
    async fn a_member_says_that_it_is_here_once_in_12_s() {
        let mut room = home(None, "alice").await.create("den").unwrap();
        let start = now();
        let entries = room.database.entry_count();
        let mut beaten = 0;
        for second in 0..60 {
            beaten += u64::from(room.beat(start.plus(Duration::from_secs(second))).await.unwrap());
        }
        assert_eq!((beaten, room.database.entry_count()), (5, entries + 5));
        assert!(room.beat(start).await.unwrap(), "a clock that was set back doesn't silence it");
    }

    #[tokio::test]
    async fn a_room_goes_on_when_its_maker_comes_back_at_another_address() {
        for over in EVERY_WAY {
            goes_on_with_its_maker_elsewhere(*over).await;
        }
    }

    async fn goes_on_with_its_maker_elsewhere(over: Over) {
        let folder = tempfile::tempdir().unwrap();
        let mut alice = over.home(Some(folder.path()), "alice").await.create("den").unwrap();
        let mut bob = over.home(None, "bob").await.join(&alice.ticket().unwrap()).await.unwrap();
        assert!(alice.beat(now()).await.unwrap() && bob.beat(now()).await.unwrap());
        until("bob", &mut alice, |room| room.members.len() == 2).await;
        until("alice", &mut bob, |room| room.members.len() == 2).await;
        alice.close().unwrap();
        bob.post("meanwhile", now()).await.unwrap();

        let again = over.home(Some(folder.path()), "alice").await;
        let database = again.find("den").unwrap().unwrap();
        let mut alice = again.enter(database).unwrap();
        until("what was said meanwhile", &mut alice, says("meanwhile")).await;
        alice.post("back", now()).await.unwrap();
        until("alice again", &mut bob, says("back")).await;
    }

    #[tokio::test]
    async fn members_who_all_left_find_each_other_again() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let alice = home(Some(a.path()), "alice").await.create("den").unwrap();
        let bob = home(Some(b.path()), "bob").await.join(&alice.ticket().unwrap()).await.unwrap();
        bob.close().unwrap();
        alice.close().unwrap();
        let (mut alice, mut bob) = (again(a.path(), "alice").await, again(b.path(), "bob").await);
        alice.post("hello", now()).await.unwrap();
        bob.post("hello too", now()).await.unwrap();
        until("bob's message", &mut alice, says("hello too")).await;
        until("alice's message", &mut bob, says("hello")).await;
    }

    #[tokio::test]
    async fn rows_that_are_no_messages_are_left_out() {
        let mut room = home(None, "alice").await.create("den").unwrap();
        let transaction = room.database.new_transaction().unwrap();
        transaction.get_store::<Table<String>>(MESSAGES).unwrap().insert(&"no message".to_owned()).unwrap();
        transaction.get_store::<Table<u8>>(MEMBERS).unwrap().insert(&7).unwrap();
        transaction.commit().unwrap();
        room.post("hello", now()).await.unwrap();
        until("the message", &mut room, says("hello")).await;
        room.read_all().unwrap();
        assert_eq!((texts(&room), room.members.len()), (vec!["hello"], 0));
    }

    #[tokio::test]
    async fn a_member_passes_on_the_ticket_it_came_with() {
        let (alice, bob) = alice_and_bob().await;
        let carol = home(None, "carol").await.join(&bob.ticket().unwrap()).await.unwrap();
        assert_eq!(carol.name().unwrap(), alice.name().unwrap());
    }
}
