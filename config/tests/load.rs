//! Layers, profiles, and every kind of fault with its key, origin and expectation.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fakes;

use std::path::{Path, PathBuf};

use eidetica_config::{Admission, Config, Flag, PROFILES, Sources, faults, schema};
use eidetica_kernel::{ErrorKind, Permission};
use fakes::registry;

/// A file in a folder of its own, named `node.toml` in messages.
struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("node.toml"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("node.toml")
    }
}

fn load(text: &str, change: impl FnOnce(&mut Sources)) -> Result<Config, Vec<String>> {
    let file = File::new(text);
    let mut sources = Sources::file(file.path());
    change(&mut sources);
    let folder = format!("{}/", file.folder.path().display());
    Config::load_with(sources, &registry()).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!faults(&error).is_empty(), "{error}");
        faults(&error).iter().map(|fault| fault.to_string().replace(&folder, "")).collect()
    })
}

fn plain(text: &str) -> Result<Config, Vec<String>> {
    load(text, |_| {})
}

fn profile(name: &str) -> impl FnOnce(&mut Sources) {
    move |sources| sources.profile = Some(name.to_owned())
}

fn set(values: &[&str]) -> impl FnOnce(&mut Sources) {
    move |sources| sources.set = values.iter().map(|value| (*value).to_owned()).collect()
}

fn env(name: &str, value: &str) -> impl FnOnce(&mut Sources) {
    move |sources| sources.env.push((name.to_owned(), value.to_owned()))
}

fn value_of(config: &Config, key: &str) -> (String, String) {
    let setting = config.show().iter().find(|setting| setting.key == key);
    let setting = setting.unwrap_or_else(|| panic!("{key} isn't in {:#?}", config.show()));
    (setting.value.to_string(), setting.origin.clone())
}

#[test]
fn nothing_at_all_is_a_node_on_files_with_http_that_lets_people_in_by_hand() {
    let config = Config::load_with(Sources::default(), &registry()).unwrap();
    assert_eq!(config.profile(), "default");
    assert!(config.chosen().backend.capabilities().durable);
    let names: Vec<&str> = config.chosen().transports.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["http"]);
    let kinds: Vec<&str> = config.chosen().stores.iter().map(|(name, _)| *name).collect();
    assert_eq!(kinds, ["doc", "table"], "every linked kind");
    assert_eq!(config.chosen().admission, Admission::Manual);
    assert_eq!(value_of(&config, "backend.use"), ("\"file\"".into(), "built-in profile default".into()));
    assert_eq!(value_of(&config, "scheduler.standard.interval_seconds"), ("300".into(), "default".into()));
}

#[test]
fn a_program_without_the_plugins_of_the_built_in_profiles_needs_no_table_for_them() {
    let plugins = registry()
        .plugins()
        .iter()
        .copied()
        .filter(|plugin| plugin.about().name != "http")
        .collect::<Vec<_>>();
    let registry = eidetica_kernel::registry::Registry::new(plugins).unwrap();
    let load = |set: &[&str]| {
        let set = set.iter().map(|set| (*set).to_owned()).collect();
        Config::load_with(Sources { set, ..Sources::default() }, &registry).map_err(|error| error.to_string())
    };
    let config = load(&["transport.use=memory"]).unwrap();
    assert_eq!(config.chosen().transports[0].0, "memory");
    assert_eq!(
        load(&[]).unwrap_err(),
        "reading the configuration: transport.use (built-in profile default): no transport \"http\" is linked; \
         known: memory"
    );
    let set = load(&["transport.use=memory", "transport.http.listen=x:1"]).unwrap_err();
    assert!(set.contains("transport.http (flag --set transport.http.listen): no transport"), "{set}");
}

#[test]
fn dev_lets_everybody_write_and_prod_refuses_a_volatile_backend() {
    let dev = load("", profile("dev")).unwrap();
    assert_eq!(dev.chosen().admission, Admission::Automatic { cap: Permission::Write });
    let prod = load("", profile("prod")).unwrap();
    assert_eq!(prod.chosen().admission, Admission::Manual);
    let volatile = load("[default.backend]\nuse = 'memory'", profile("prod")).unwrap_err();
    assert_eq!(
        volatile,
        [
            "backend.require[0] (built-in profile prod): the backend \"memory\" (node.toml [default]) isn't durable, it \
          offers nothing; choose another backend"
        ]
    );
    assert!(plain("[default.backend]\nuse = 'memory'").is_ok(), "only prod asks for it");
}

#[test]
fn an_unknown_profile_is_an_error_that_lists_the_known() {
    assert_eq!(
        load("", profile("prdo")).unwrap_err(),
        ["no profile \"prdo\"; did you mean \"prod\"? Known: default, dev, prod"]
    );
    assert_eq!(
        plain("[staging.backend]\nuse = 'file'\n[backend]\nuse = 'file'\n[default]\nnode = 3\n[global]")
            .unwrap_err(),
        [
            "backend (node.toml): tables belong to a profile: write [default.backend]",
            "global (node.toml): no such profile; known: default, dev, prod",
            "node (node.toml [default]): expected a table, found 3",
            "staging (node.toml): no such profile; known: default, dev, prod",
        ]
    );
}

#[test]
fn each_layer_beats_the_one_below_whatever_the_profile() {
    let text = "[default.node]\nlisten='file:1'\n[prod.node]\nlisten='prod:1'";
    let listen = |change: fn(&mut Sources)| {
        let config = load(text, change).unwrap();
        (config.chosen().node.listen.clone().unwrap(), value_of(&config, "node.listen").1)
    };
    let (value, origin) = listen(|_| {});
    assert_eq!(value, "file:1");
    assert!(origin.ends_with("node.toml [default]"), "{origin}");
    let (value, origin) = listen(|sources| profile("prod")(sources));
    assert_eq!(value, "prod:1");
    assert!(origin.ends_with("node.toml [prod]"), "{origin}");
    let in_env = |sources: &mut Sources| {
        profile("prod")(sources);
        env("EIDETICA_NODE__LISTEN", "env:1")(sources);
    };
    assert_eq!(listen(in_env), ("env:1".into(), "environment variable EIDETICA_NODE__LISTEN".into()));
    let in_set = |sources: &mut Sources| {
        profile("prod")(sources);
        env("EIDETICA_NODE__LISTEN", "env:1")(sources);
        set(&["node.listen=set:1"])(sources);
    };
    assert_eq!(listen(in_set), ("set:1".into(), "flag --set node.listen".into()));
    let in_flag = |sources: &mut Sources| {
        set(&["node.listen=set:1"])(sources);
        let (flag, key, value) = ("--listen".into(), "node.listen".into(), "7777".into());
        sources.flags.push(Flag { flag, key, value });
    };
    assert_eq!(listen(in_flag), ("7777".into(), "flag --listen".into()));
}

#[test]
fn the_nodes_address_is_checked_by_the_transports_that_listen_there() {
    for (listen, transports) in
        [("nonsense", "http"), ("http:nonsense", "http"), ("nonsense", "http\", \"memory")]
    {
        let text = format!("[default.node]\nlisten='{listen}'\n[default.transport]\nuse=[\"{transports}\"]");
        assert_eq!(plain(&text).unwrap_err(), ["node.listen (node.toml [default]): must end with a port"]);
    }
    let unasked = "[default.node]\nlisten='nonsense'\n[default.transport]\nuse=[\"memory\"]";
    plain(unasked).unwrap();
    let flagged = load("", |sources| {
        let (flag, key, value) = ("--listen".into(), "node.listen".into(), "nonsense".into());
        sources.flags.push(Flag { flag, key, value });
    });
    assert_eq!(flagged.unwrap_err(), ["node.listen (flag --listen): must end with a port"]);
    plain("[default.node]\nlisten='http:127.0.0.1:0'").unwrap();
}

#[test]
fn the_environment_splits_at_two_underscores_only() {
    let config = load("", env("EIDETICA_SCHEDULER__STANDARD__INTERVAL_SECONDS", "7")).unwrap();
    let key = "scheduler.standard.interval_seconds";
    let origin = "environment variable EIDETICA_SCHEDULER__STANDARD__INTERVAL_SECONDS";
    assert_eq!(value_of(&config, key), ("7".into(), origin.into()));
}

#[test]
fn reserved_and_foreign_variables_are_passed_over_and_misspelt_ones_are_not() {
    let config = load("", |sources| {
        for name in eidetica_config::RESERVED.into_iter().chain(["PATH", "HOME"]) {
            env(name, "x")(sources);
        }
    });
    assert!(config.is_ok());
    assert_eq!(
        load("", env("EIDETICA_BAKEND__USE", "file")).unwrap_err(),
        ["bakend (environment variable EIDETICA_BAKEND__USE): unknown key; did you mean \"backend\"?"]
    );
    assert_eq!(
        load("", env("EIDETICA_NODE__", "x")).unwrap_err(),
        [
            "node. (environment variable EIDETICA_NODE__): expected a key of names joined by dots, as backend.use"
        ]
    );
}

#[test]
fn a_plugin_named_where_its_table_belongs_is_reported_even_under_other_layers() {
    let both = |sources: &mut Sources| {
        env("EIDETICA_BACKEND", "memory")(sources);
        env("EIDETICA_BACKEND__USE", "file")(sources);
    };
    assert_eq!(
        load("", both).unwrap_err(),
        [
            "backend (environment variable EIDETICA_BACKEND): expected a table, found \"memory\"; to choose a plugin set \
          backend.use"
        ]
    );
}

#[test]
fn flags_take_toml_and_refuse_what_is_no_key() {
    let config =
        load("", set(&["transport.use=[\"memory\", \"http\"]", "scheduler.standard.jitter=0"])).unwrap();
    let names: Vec<&str> = config.chosen().transports.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["memory", "http"], "in the order given");
    assert!(load("", set(&["transport.use=memory"])).is_ok(), "one name needs no list");
    assert_eq!(
        load("", set(&["backend", "default.backend.use=file", "=3"])).unwrap_err(),
        [
            "flag --set : expected a key of names joined by dots, as backend.use",
            "flag --set backend: expected key=value, as in backend.use=file",
            "default.backend.use (flag --set default.backend.use): this is above all profiles: leave the profile out \
             of the key",
        ]
    );
}

#[test]
fn every_fault_is_reported_at_once_with_key_origin_and_expectation() {
    let text = r#"
        [default.backend]
        use = "fil"
        require = ["durabel"]

        [default.backend.file]
        pth = "/srv"
        durability = "imediate"

        [default.backend.file.pool]
        size_max = "many"
        names = ["a", 3]

        [default.transport]
        use = ["http", "iroh", "http"]

        [default.transport.iroh]
        relay = true

        [default.scheduler]
        use = 5

        [default.scheduler.standard]
        intervall_seconds = 5
        jitter = 1.5

        [default.admission]
        mode = "always"
        cap = "everything"

        [default.node]
        advertize = ["x"]
        listen = ""
        advertise = ["no address"]

        [[default.peer]]
        addresses = ["https://example.org"]

        [[default.peer]]
        key = "ed25519:abc"
        databases = ["1234"]
        adresses = []

        [default.sheduler]
    "#;
    let expected = [
        "admission.cap (node.toml [default]): unknown value \"everything\"; known: read, write, admin",
        "admission.mode (node.toml [default]): unknown value \"always\"; known: deny, manual, automatic",
        "backend.file.durability (node.toml [default]): unknown value \"imediate\"; did you mean \"immediate\"?",
        "backend.file.pool.names[1] (node.toml [default]): expected a string, found integer `3`",
        "backend.file.pool.size_max (node.toml [default]): expected a whole number, 0 or more, found string \"many\"",
        "backend.file.pth (node.toml [default]): unknown key; did you mean \"path\"?",
        "backend.require[0] (node.toml [default]): unknown capability; did you mean \"durable\"?",
        "backend.use (node.toml [default]): no backend \"fil\" is linked; did you mean \"file\"? Linked: file, memory",
        "node.advertise[0] (node.toml [default]): expected an address as https://…, host:port or type:rest, found \
         \"no address\"",
        "node.advertize (node.toml [default]): unknown key; did you mean \"advertise\"?",
        "node.listen (node.toml [default]): expected an address, found empty text",
        "peer[0].key (node.toml [default]): required, and missing",
        "peer[1].adresses (node.toml [default]): unknown key; did you mean \"addresses\"?",
        "peer[1].databases[0] (node.toml [default]): expected a database id, 64 lowercase hex digits, found \"1234\"",
        "peer[1].key (node.toml [default]): expected \"ed25519:\" and 64 lowercase hex digits, found \"ed25519:abc\"",
        "scheduler.standard.intervall_seconds (node.toml [default]): unknown key; did you mean \"interval_seconds\"?",
        "scheduler.standard.jitter (node.toml [default]): must be 0 to 1, is 1.5",
        "scheduler.use (node.toml [default]): expected the name of one plugin as text, found 5",
        "sheduler (node.toml [default]): unknown key; did you mean \"scheduler\"?",
        "transport.iroh (node.toml [default]): no transport \"iroh\" is linked; known: http, memory",
        "transport.use (node.toml [default]): no transport \"iroh\" is linked; known: http, memory",
        "transport.use[2] (node.toml [default]): \"http\" is there twice",
    ];
    let found = plain(text).unwrap_err();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn values_out_of_range_name_the_layer_that_set_them() {
    assert_eq!(
        load("", env("EIDETICA_BACKEND__FILE__POOL__SIZE_MAX", "0")).unwrap_err(),
        [
            "backend.file.pool.size_max (environment variable EIDETICA_BACKEND__FILE__POOL__SIZE_MAX): must be at least \
          1, is 0"
        ]
    );
    assert_eq!(
        load("", env("EIDETICA_NODE__DATA_DIR", "5")).unwrap_err(),
        [
            "node.data_dir (environment variable EIDETICA_NODE__DATA_DIR): expected a path as a string, found integer `5`; \
          quote it: '\"…\"'"
        ]
    );
}

#[test]
fn types_are_named_for_people_and_each_fault_once() {
    let set = set(&[
        "scheduler.standard.interval_seconds=-5",
        "scheduler.standard.retry_base_ms=1.5",
        "scheduler.standard.on_commit=5",
        "scheduler.standard.jitter=much",
        "backend.file.pool.names=a",
        "backend.file.durability=3",
        "backend.memory.x=1",
        "peer=[{key=1}]",
    ]);
    let found = load("", set).unwrap_err();
    let messages: Vec<&str> = found.iter().map(|fault| fault.split_once("): ").unwrap().1).collect();
    assert_eq!(
        messages,
        [
            "expected a name as a string, found integer `3`; quote it: '\"…\"'",
            "expected a list, found string \"a\"",
            "unknown key; there are none here",
            "expected a string, found integer `1`; quote it: '\"…\"'",
            "expected a whole number, 0 or more, found integer `-5`",
            "expected a number, found string \"much\"",
            "expected true or false, found integer `5`",
            "expected a whole number, 0 or more, found float `1.5`",
        ]
    );
}

#[test]
fn faults_in_profiles_that_are_not_selected_are_found_too() {
    assert_eq!(
        plain("[prod.backend.file]\npth = '/srv'\n[prod.backend.file.pool]\nsize_max = 0").unwrap_err(),
        ["backend.file.pth (node.toml [prod]): unknown key; did you mean \"path\"?"],
        "but whether their values fit is theirs to say"
    );
}

#[test]
fn options_of_plugins_that_are_linked_but_unused_are_checked() {
    let unused =
        plain("[default.backend]\nuse = 'memory'\n[default.backend.file]\ncolour = 'red'").unwrap_err();
    assert_eq!(
        unused,
        ["backend.file.colour (node.toml [default]): unknown key; known: path, password, durability, pool"]
    );
}

#[test]
fn a_named_file_must_be_there_and_be_toml() {
    let missing = || Sources::file("/nonexistent/node.toml");
    let error = Config::load_with(missing(), &registry()).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains("/nonexistent/node.toml"), "{error}");
    let optional = Sources { file_required: false, ..missing() };
    assert!(Config::load_with(optional, &registry()).is_ok());
    assert!(Config::load_with(Path::new("/nonexistent"), &registry()).is_err());

    let broken = plain("[default.node\nlisten = 3").unwrap_err();
    assert!(broken[0].starts_with("node.toml: not TOML: ") && broken[0].contains("line 1"), "{broken:?}");
    let folder = tempfile::tempdir().unwrap();
    assert!(Config::load_with(Sources::file(folder.path()), &registry()).is_err());
}

#[test]
fn one_error_shows_every_fault_on_a_line_of_its_own() {
    let file = File::new("[default.nod]\n[default.peer]\n");
    let error = Config::load_with(Sources::file(file.path()), &registry()).unwrap_err();
    let path = file.path().display().to_string();
    assert_eq!(
        error.to_string(),
        format!(
            "reading the configuration: 2 faults\n  nod ({path} [default]): unknown key; did you mean \"node\"?\n  \
             peer ({path} [default]): expected a list of tables, [[default.peer]], found {{}}"
        )
    );
}

#[test]
fn peers_are_read_and_named_once() {
    let key = format!("ed25519:{}", "ab".repeat(32));
    let tree = "cd".repeat(32);
    let peer = format!(
        "[[default.peer]]\nkey = '{key}'\naddresses = ['https://a.example']\ndatabases = ['{tree}']\n"
    );
    let config = plain(&peer).unwrap();
    let [read] = &config.chosen().peers[..] else { panic!("one peer") };
    assert_eq!((read.key.to_string(), read.databases[0].to_string()), (key.clone(), tree));
    assert_eq!(value_of(&config, "peer[0].key").0, format!("\"{key}\""));
    assert_eq!(
        plain(&format!("{peer}{peer}")).unwrap_err(),
        ["peer[1].key (node.toml [default]): this peer is there twice; join its addresses and databases"]
    );
}

#[test]
fn show_is_sorted_and_keeps_secrets() {
    let config = load(
        "[default.backend.file]\npassword = 'hunter2'\npath = 'postgres://me:hunter2@host/db'",
        set(&["backend.file.pool.size_max=3"]),
    )
    .unwrap();
    let keys: Vec<&str> = config.show().iter().map(|setting| setting.key.as_str()).collect();
    assert!(keys.is_sorted());
    let all = config.show().iter().map(|setting| format!("{setting}\n")).collect::<String>();
    assert!(!all.contains("hunter2"), "{all}");
    assert!(all.contains("backend.file.pool.size_max = 3  # flag --set backend.file.pool.size_max"), "{all}");
    assert!(
        all.contains("backend.file.durability = \"Immediate\"") || all.contains("\"immediate\"  # default"),
        "{all}"
    );
    assert!(!all.contains("transport.memory"), "{all}");
}

#[test]
fn the_schema_covers_every_section_and_resolves_its_references() {
    let schema = schema(&registry());
    for profile in PROFILES {
        assert_eq!(schema["properties"][profile]["$ref"], "#/$defs/profile");
    }
    let profile = &schema["$defs"]["profile"]["properties"];
    assert_eq!(profile["backend"]["properties"]["use"]["enum"], serde_json::json!(["file", "memory"]));
    assert!(profile["scheduler"]["properties"]["standard"]["properties"]["jitter"].is_object());
    assert!(profile["peer"]["items"]["properties"]["key"].is_object());
    let text = schema.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let target = reference.split('"').next().unwrap();
        let name = target.strip_prefix("#/$defs/").unwrap();
        assert!(schema["$defs"][name].is_object(), "{target}");
    }
}
