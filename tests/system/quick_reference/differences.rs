//! The tests' lines against the seed's, and every place where they may differ.

use std::collections::{BTreeMap, BTreeSet};

const SEED: &str = include_str!("seed.md");

/// The files with snippets, in the seed's order.
const SOURCES: &[(&str, &str)] = &[
    ("setup", include_str!("setup.rs")),
    ("declarative", include_str!("declarative.rs")),
    ("legacy", include_str!("legacy.rs")),
    ("databases", include_str!("databases.rs")),
    ("data", include_str!("data.rs")),
    ("monitoring", include_str!("monitoring.rs")),
    ("errors", include_str!("errors.rs")),
    ("configuration", include_str!("configuration.rs")),
    ("testing", include_str!("testing.rs")),
];

/// Why a test's line isn't the seed's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Ids, peers and ports that can't exist: the tests have real ids and port 0.
    Placeholder,
    /// `Box::new(InMemory::new())?` lacks a parenthesis.
    Unbalanced,
    /// A list is used after `for` has consumed it.
    Consumed,
    /// The state's getters are `Option`s in one snippet and not in the next: they are.
    OptionOrNot,
    /// A name that nothing defines.
    Undefined,
    /// `Address::iroh` is fallible in one snippet and not in another: it is.
    FallibleOrNot,
    /// `iroh::RelayNode` isn't iroh's name for it any more.
    Renamed,
}

/// Lines of the seed, and what a test has in their place.
struct Difference {
    /// In these snippets.
    snippets: &'static [usize],
    seed: &'static [&'static str],
    test: &'static [&'static str],
    why: Why,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        snippets: &[1],
        seed: &[r#"sync.start_server_async("127.0.0.1:8080").await?;"#],
        test: &[r#"sync.start_server_async("127.0.0.1:0").await?;"#],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[5],
        seed: &[r#""peer.example.com:8080","#],
        test: &["&peer_address,"],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[6, 12],
        seed: &[r#"sync.sync_with_peer("peer.example.com:8080", Some(&tree_id)).await?;"#],
        test: &["sync.sync_with_peer(&peer_address, Some(&tree_id)).await?;"],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[7],
        seed: &[r#"let available_trees = sync.discover_peer_trees("peer.example.com:8080").await?;"#],
        test: &["let available_trees = sync.discover_peer_trees(&peer_address).await?;"],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[7],
        seed: &["for tree in available_trees {"],
        test: &["for tree in &available_trees {"],
        why: Why::Consumed,
    },
    Difference {
        snippets: &[7],
        seed: &[r#"sync.sync_with_peer("peer.example.com:8080", Some(&tree.tree_id)).await?;"#],
        test: &["sync.sync_with_peer(&peer_address, Some(&tree.tree_id)).await?;"],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[8],
        seed: &[r#"let peer_key = "ed25519:abc123...";"#],
        test: &["let peer_key = real_key.as_str();"],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[8],
        seed: &[r#"sync.add_peer_address(peer_key, Address::http("192.168.1.100:8080")?)?;"#],
        test: &["sync.add_peer_address(peer_key, Address::http(&peer_address)?)?;"],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[11],
        seed: &[r#"let room_id = "abc123..."; // Received from another user"#],
        test: &["let room_id = real_id.as_str(); // Received from another user"],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[11],
        seed: &[r#"sync.sync_with_peer("peer.example.com:8080", Some(&room_id)).await?;"#],
        test: &["sync.sync_with_peer(&peer_address, Some(&room_id)).await?;"],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[16],
        seed: &[r#"sync.start_server("127.0.0.1:8080")?;"#],
        test: &[r#"sync.start_server("127.0.0.1:0")?;"#],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[18],
        seed: &["let cursor = state_manager.get_sync_cursor(&peer_key, &tree_id)?;"],
        test: &[
            r#"let cursor = state_manager.get_sync_cursor(&peer_key, &tree_id)?.expect("synced before");"#,
        ],
        why: Why::OptionOrNot,
    },
    Difference {
        snippets: &[18],
        seed: &["let metadata = state_manager.get_sync_metadata(&peer_key)?;"],
        test: &[r#"let metadata = state_manager.get_sync_metadata(&peer_key)?.expect("synced before");"#],
        why: Why::OptionOrNot,
    },
    Difference {
        snippets: &[21],
        seed: &[r#"db.sync()?.start_server("127.0.0.1:8080")?;"#],
        test: &[r#"db.sync()?.start_server("127.0.0.1:0")?;"#],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[21],
        seed: &[r#"let addr = Address::http("127.0.0.1:8081")?;"#],
        test: &["let addr = Address::http(&peer_address)?;"],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[22],
        seed: &[
            "let relay_node = iroh::RelayNode {",
            "url: relay_url,",
            "quic: Some(Default::default()),",
            "};",
        ],
        test: &["let relay_node = iroh::RelayConfig::new(relay_url, Some(Default::default()));"],
        why: Why::Renamed,
    },
    Difference {
        snippets: &[23, 24],
        seed: &["let db1 = Instance::open(Box::new(InMemory::new())?.enable_sync()?;"],
        test: &["let db1 = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;"],
        why: Why::Unbalanced,
    },
    Difference {
        snippets: &[23, 24],
        seed: &["let db2 = Instance::open(Box::new(InMemory::new())?.enable_sync()?;"],
        test: &["let db2 = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;"],
        why: Why::Unbalanced,
    },
    Difference {
        snippets: &[23],
        seed: &[r#"db1.sync()?.start_server("127.0.0.1:8080")?;"#],
        test: &[r#"db1.sync()?.start_server("127.0.0.1:0")?;"#],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[23],
        seed: &[r#"db2.sync()?.start_server("127.0.0.1:8081")?;"#],
        test: &[r#"db2.sync()?.start_server("127.0.0.1:0")?;"#],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[23],
        seed: &[r#"let addr = Address::http("127.0.0.1:8080")?;"#],
        test: &["let addr = Address::http(db1.sync()?.get_server_address()?)?;"],
        why: Why::Placeholder,
    },
    Difference {
        snippets: &[24],
        seed: &["let peer1 = db2.sync()?.connect_to_peer(&Address::iroh(&addr1)).await?;"],
        test: &["let peer1 = db2.sync()?.connect_to_peer(&Address::iroh(&addr1)?).await?;"],
        why: Why::FallibleOrNot,
    },
    Difference {
        snippets: &[24],
        seed: &["let peer2 = db1.sync()?.connect_to_peer(&Address::iroh(&addr2)).await?;"],
        test: &["let peer2 = db1.sync()?.connect_to_peer(&Address::iroh(&addr2)?).await?;"],
        why: Why::FallibleOrNot,
    },
    Difference {
        snippets: &[25],
        seed: &["let instance1 = Instance::open(Box::new(InMemory::new())?.enable_sync()?;"],
        test: &["let instance1 = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;"],
        why: Why::Unbalanced,
    },
    Difference {
        snippets: &[25],
        seed: &["let instance2 = Instance::open(Box::new(InMemory::new())?.enable_sync()?;"],
        test: &["let instance2 = Instance::open(Box::new(InMemory::new()))?.enable_sync()?;"],
        why: Why::Unbalanced,
    },
    Difference {
        snippets: &[25],
        seed: &["db2.sync()?.add_tree_sync(&peer1_key, &tree1.root_id().to_string())?;"],
        test: &["instance2.sync()?.add_tree_sync(&peer1_key, &tree1.root_id().to_string())?;"],
        why: Why::Undefined,
    },
];

/// The lines of every Rust block of the seed, those that documentation hides too, without indentation. The first is number 1.
fn snippets(seed: &str) -> Vec<Vec<&str>> {
    let mut snippets = Vec::new();
    let mut lines = seed.lines();
    while let Some(line) = lines.next() {
        if line == "```rust" || line.starts_with("```rust,") {
            let block = lines.by_ref().take_while(|line| *line != "```");
            snippets.push(block.map(|line| shown(line).trim()).collect());
        }
    }
    snippets
}

fn shown(line: &str) -> &str {
    match line.strip_prefix("# ") {
        Some(hidden) => hidden,
        None if line == "#" => "",
        None => line,
    }
}

/// The lines between `// [snippet N]` and `// [end]`, by N, without indentation; those of several such places one after another.
fn regions<'a>(sources: &[(&'a str, &'a str)]) -> Result<Vec<(usize, Vec<&'a str>)>, String> {
    let mut regions: Vec<(usize, Vec<&str>)> = Vec::new();
    for (name, source) in sources {
        let mut open = false;
        for line in source.lines().map(str::trim) {
            let number = line.strip_prefix("// [snippet ").and_then(|rest| rest.strip_suffix(']'));
            match (number, open) {
                (Some(number), false) => {
                    let number = number.parse().map_err(|_| format!("{name}: {line}"))?;
                    if regions.last().is_none_or(|(before, _)| *before != number) {
                        regions.push((number, Vec::new()));
                    }
                    open = true;
                }
                (None, true) if line == "// [end]" => open = false,
                (None, true) => {
                    regions.last_mut().into_iter().for_each(|(_, lines)| lines.push(line));
                }
                (None, false) if line == "// [end]" => return Err(format!("{name}: an end without a start")),
                (None, false) => {}
                (Some(_), true) => return Err(format!("{name}: {line} before the end of the one above")),
            }
        }
        if open {
            return Err(format!("{name}: no end"));
        }
    }
    Ok(regions)
}

/// What a test of this snippet has to consist of; notes which differences were needed.
fn expected<'a>(
    number: usize,
    seed: &[&'a str],
    table: &'a [Difference],
    used: &mut BTreeSet<(usize, usize)>,
) -> Vec<&'a str> {
    let mut lines = Vec::new();
    let mut rest = seed;
    while let Some(line) = rest.first() {
        let applies = |row: &Difference| row.snippets.contains(&number) && rest.starts_with(row.seed);
        match table.iter().position(applies) {
            Some(row) => {
                used.insert((row, number));
                lines.extend(table[row].test);
                rest = &rest[table[row].seed.len()..];
            }
            None => {
                lines.push(*line);
                rest = &rest[1..];
            }
        }
    }
    lines
}

/// Everything in which the tests differ from the seed beyond the table, and what in the table isn't needed.
fn compare(seed: &str, sources: &[(&str, &str)], table: &[Difference]) -> Vec<String> {
    let snippets = snippets(seed);
    let regions = match regions(sources) {
        Ok(regions) => regions,
        Err(error) => return vec![error],
    };
    let mut problems = Vec::new();
    let numbers: Vec<usize> = regions.iter().map(|(number, _)| *number).collect();
    let wanted: Vec<usize> = (1..=snippets.len()).collect();
    if numbers != wanted {
        problems.push(format!("each snippet has one test, in the seed's order: {numbers:?}"));
    }
    let regions: BTreeMap<usize, Vec<&str>> = regions.into_iter().collect();
    let mut used = BTreeSet::new();
    for (number, snippet) in wanted.iter().zip(&snippets) {
        let expected = expected(*number, snippet, table, &mut used);
        let Some(found) = regions.get(number) else { continue };
        let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
        if same < expected.len().max(found.len()) {
            problems.push(format!(
                "snippet {number}, line {}: the seed has {:?}, the test {:?}",
                same + 1,
                expected.get(same),
                found.get(same)
            ));
        }
    }
    for (row, difference) in table.iter().enumerate() {
        let unused = difference.snippets.iter().filter(|number| !used.contains(&(row, **number)));
        problems.extend(unused.map(|number| format!("snippet {number} has no {:?}", difference.seed)));
    }
    problems
}

#[test]
fn the_tests_have_the_seeds_own_lines() {
    assert_eq!(snippets(SEED).len(), 25);
    let problems = compare(SEED, SOURCES, DIFFERENCES);
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn the_seed_is_the_one_that_was_handed_over() {
    let hash = "c6afb675d0d122663155d4a838b1b6341e9cd5b62f779231344bace02b927cf2";
    assert_eq!(blake3::hash(SEED.as_bytes()).to_hex().as_str(), hash);
}

#[test]
fn every_snippet_runs() {
    let main = include_str!("main.rs");
    for (name, source) in SOURCES {
        assert!(main.lines().any(|line| line == format!("mod {name};")), "{name} is compiled");
        let skips = ["#[ignore", "#[cfg", "macro_rules!"].iter().any(|skip| source.contains(skip));
        assert!(!skips, "{name} runs all it has");
    }
    let all: String = SOURCES.iter().map(|(_, source)| *source).collect();
    let tests = all.lines().filter(|line| line.trim_start().starts_with("#[test]")).count()
        + all.lines().filter(|line| line.trim_start().starts_with("#[tokio::test")).count();
    assert_eq!(tests, snippets(SEED).len(), "one test for each");
}

#[test]
fn a_line_that_is_dropped_added_or_changed_is_found() {
    let seed = "```rust\none\n# two\n\nthree(\"8080\");\n```\n\n```rust,ignore\nfour\n```\n";
    let table = [Difference {
        snippets: &[1],
        seed: &["three(\"8080\");"],
        test: &["three(0);"],
        why: Why::Placeholder,
    }];
    let first =
        "// [snippet 1]\n  one\n// [end]\nassert!(true)\n// [snippet 1]\ntwo\n\nthree(0);\n// [end]\n";
    let second = "// [snippet 2]\nfour\n// [end]\n";
    let compare = |first: &str, second: &str| compare(seed, &[("a", first), ("b", second)], &table);
    assert!(compare(first, second).is_empty());
    for (line, changed) in
        [("two\n", ""), ("two\n", "two\ntwo\n"), ("two\n", "2\n"), ("\n\n", "\n"), ("(0)", "(\"8080\")")]
    {
        assert_eq!(compare(&first.replacen(line, changed, 1), second).len(), 1, "{line:?} {changed:?}");
    }
    for broken in [first.replacen("// [end]\n", "", 1), format!("{first}// [end]\n")] {
        assert_eq!(compare(&broken, second).len(), 1, "{broken}");
    }
    assert!(!compare(first, "").is_empty(), "a missing test is found");
    assert!(!compare(second, first).is_empty(), "another order is found");
    assert!(!compare(first, &second.repeat(2)).is_empty(), "a second copy of a line is found");
    let unneeded = super::differences::compare(
        &seed.replace("three(\"8080\");", "three(0);"),
        &[("a", first), ("b", second)],
        &table,
    );
    assert_eq!(unneeded.len(), 1, "what the table needn't have is found: {unneeded:?}");
}

#[test]
fn differences_are_only_where_the_seed_contradicts_itself() {
    let reasons: BTreeSet<Why> = DIFFERENCES.iter().map(|difference| difference.why).collect();
    assert_eq!(reasons.len(), 7, "each reason is needed: {reasons:?}");
    for difference in DIFFERENCES {
        let (seed, test) = (difference.seed.concat(), difference.test.concat());
        let has = |what: &str| seed.contains(what) && !test.contains(what);
        assert!(
            match difference.why {
                Why::Placeholder =>
                    ["abc123", "example.com", "192.168.1.100", ":808"].iter().any(|what| has(what)),
                Why::Unbalanced => test == seed.replace("InMemory::new())?", "InMemory::new()))?"),
                Why::Consumed => test == seed.replace(" in ", " in &"),
                Why::OptionOrNot => test == seed.replace("?;", r#"?.expect("synced before");"#),
                Why::Undefined => test == seed.replace("db2", "instance2"),
                Why::FallibleOrNot => test == seed.replace("))", ")?)"),
                Why::Renamed => has("RelayNode") && test.contains("RelayConfig::new(relay_url, "),
            },
            "{seed} -> {test}"
        );
    }
}
