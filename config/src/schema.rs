//! The JSON schema of a config file, for editors.

use eidetica_kernel::options::plain_descriptions;
use eidetica_kernel::registry::{Plugin, Registry};
use serde_json::{Map, Value, json};

use crate::layers::PROFILES;
use crate::sections::{AdmissionTable, Node, PeerTable};

/// The JSON schema (draft 2020-12) of a file that configures the plugins of `registry`.
///
/// ```
/// use eidetica_kernel::registry::Registry;
///
/// let schema = eidetica_config::schema(&Registry::new([])?);
/// assert_eq!(schema["properties"]["prod"]["$ref"], "#/$defs/profile");
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
pub fn schema(registry: &Registry) -> Value {
    let mut defs = Map::new();
    let mut sections = Map::new();
    for (kind, what) in [
        ("auth", "Who may do what."),
        ("backend", "Where bytes rest."),
        ("scheduler", "When to sync what with whom."),
        ("store", "Which kinds of store are known."),
        ("transport", "How other nodes are reached."),
    ] {
        sections.insert(kind.to_owned(), plugins(registry, kind, what, &mut defs));
    }
    let admission = hoist("admission", schemars::schema_for!(AdmissionTable).to_value(), &mut defs);
    sections.insert("admission".to_owned(), admission);
    let node = hoist("node", schemars::schema_for!(Node).to_value(), &mut defs);
    sections.insert("node".to_owned(), node);
    let required = json!(["key"]);
    let mut peer = hoist("peer", schemars::schema_for!(PeerTable).to_value(), &mut defs);
    peer["required"] = required;
    sections.insert("peer".to_owned(), json!({ "type": "array", "items": peer }));
    defs.insert(
        "profile".to_owned(),
        json!({ "type": "object", "properties": sections, "additionalProperties": false }),
    );
    let profiles: Map<String, Value> =
        PROFILES.into_iter().map(|name| (name.to_owned(), json!({ "$ref": "#/$defs/profile" }))).collect();
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of an Eidetica node",
        "type": "object",
        "properties": profiles,
        "additionalProperties": false,
        "$defs": defs,
    });
    plain_descriptions(&mut schema);
    schema
}

/// The table of one kind: which plugins are used, and a table of options for each.
fn plugins(registry: &Registry, kind: &str, what: &str, defs: &mut Map<String, Value>) -> Value {
    let of_kind: Vec<&Plugin> = registry.plugins().iter().filter(|plugin| plugin.kind() == kind).collect();
    let names: Vec<&str> = of_kind.iter().map(|plugin| plugin.about().name).collect();
    let mut properties = Map::new();
    let several = matches!(kind, "store" | "transport");
    let one = json!({ "enum": names });
    let used = if several {
        json!({ "anyOf": [one.clone(), { "type": "array", "items": one, "uniqueItems": true }] })
    } else {
        one
    };
    properties.insert("use".to_owned(), used);
    if kind == "backend" {
        let capability = json!({ "enum": ["durable", "shared-by-processes", "watches-others"] });
        let description = "What the backend must be able to do.";
        properties.insert(
            "require".to_owned(),
            json!({ "type": "array", "items": capability, "uniqueItems": true, "description": description }),
        );
    }
    for plugin in of_kind {
        let about = plugin.about();
        let mut options = hoist(&format!("{kind}.{}", about.name), plugin.schema(), defs);
        options["description"] = json!(about.summary);
        properties.insert(about.name.to_owned(), options);
    }
    json!({ "type": "object", "description": what, "properties": properties, "additionalProperties": false })
}

/// A schema as part of a larger one: its definitions move to `defs` under names of their own, and since layers may each
/// hold a part of a table, nothing in the table itself is required.
fn hoist(prefix: &str, mut schema: Value, defs: &mut Map<String, Value>) -> Value {
    rename(prefix, &mut schema);
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("$schema");
        fields.remove("title");
        fields.remove("required");
        if let Some(Value::Object(own)) = fields.remove("$defs") {
            defs.extend(own.into_iter().map(|(name, schema)| (format!("{prefix}.{name}"), schema)));
        }
    }
    schema
}

fn rename(prefix: &str, schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref")
                && let Some(name) = target.strip_prefix("#/$defs/")
            {
                *target = format!("#/$defs/{prefix}.{name}");
            }
            fields.values_mut().for_each(|value| rename(prefix, value));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(prefix, item)),
        _ => {}
    }
}
