//! What there is to choose from, and the config file that chooses.

use std::fmt;
use std::path::Path;

use eidetica_kernel::registry::Registry;
use serde_json::Value;

/// In every file: what the plugins need on a machine without a network, and in tests without patience.
const OPTIONS: &str = r#"
[default.transport.iroh]
relay_mode = "disabled"
bind = ["127.0.0.1:0"]

[default.scheduler.adaptive]
debounce_ms = 20
debounce_max_ms = 200
retry_base_ms = 100

[default.scheduler.on-commit]
retry_base_ms = 100

[default.scheduler.periodic]
interval_seconds = 1

[default.scheduler.standard]
retry_base_ms = 100
"#;

/// The names to choose from.
pub(crate) struct Axes {
    backends: Vec<&'static str>,
    transports: Vec<&'static str>,
    schedulers: Vec<&'static str>,
    admissions: Vec<String>,
}

/// One of each.
pub(crate) struct Combination {
    backend: &'static str,
    transport: &'static str,
    scheduler: &'static str,
    admission: String,
}

impl Axes {
    /// The plugins of a registry, and every admission that a file may name.
    pub(crate) fn of(registry: &Registry) -> Self {
        Self {
            backends: registry.names("backend"),
            transports: registry.names("transport"),
            schedulers: registry.names("scheduler"),
            admissions: admissions(&eidetica_config::schema(registry)),
        }
    }

    pub(crate) fn combinations(&self) -> Vec<Combination> {
        let mut all = Vec::new();
        for &backend in &self.backends {
            for &transport in &self.transports {
                for &scheduler in &self.schedulers {
                    all.extend(self.admissions.iter().map(|admission| Combination {
                        backend,
                        transport,
                        scheduler,
                        admission: admission.clone(),
                    }));
                }
            }
        }
        all
    }
}

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backends, transports, schedulers, admissions } = self;
        let counts = [backends.len(), transports.len(), schedulers.len(), admissions.len()];
        let [backends, transports, schedulers, admissions] = counts;
        write!(
            f,
            "{backends} backends x {transports} transports x {schedulers} schedulers x {admissions} admissions"
        )
    }
}

impl Combination {
    /// The config file of a node that keeps its data in a folder.
    pub(crate) fn file(&self, data: &Path) -> String {
        let Self { backend, transport, scheduler, admission } = self;
        // Text in JSON is text in TOML.
        let data = Value::from(data.to_str().unwrap());
        format!(
            r#"[default.node]
data_dir = {data}

[default.backend]
use = "{backend}"

[default.transport]
use = ["{transport}"]

[default.scheduler]
use = "{scheduler}"

[default.admission]
mode = "{admission}"
{OPTIONS}"#
        )
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, transport, scheduler, admission } = self;
        write!(f, "{backend}::{transport}::{scheduler}::{admission}")
    }
}

/// The values of `admission.mode`, from the schema of a config file.
fn admissions(schema: &Value) -> Vec<String> {
    let mut mode = schema.pointer("/$defs/profile/properties/admission/properties/mode").unwrap();
    while let Some(elsewhere) = mode["$ref"].as_str() {
        mode = schema.pointer(elsewhere.strip_prefix('#').unwrap()).unwrap();
    }
    let modes = mode["enum"].as_array().unwrap();
    modes.iter().map(|mode| mode.as_str().unwrap().to_owned()).collect()
}
