//! Configuration of an Eidetica node: layers of values become chosen, validated plugins.
//!
//! Layers, each over the one before: built-in profiles (`profiles/*.toml`), a TOML file, environment variables, flags.
//! The top-level tables of a file are *profiles*: `default` holds what is common, `dev` and `prod` what differs there.
//! Environment and flags are above all of them.
//!
//! | in the file | in the environment | as a flag |
//! |---|---|---|
//! | `[default.backend]` `use = "file"` | `EIDETICA_BACKEND__USE=file` | `--set backend.use=file` |
//! | `[default.backend.file]` `path = "/srv"` | `EIDETICA_BACKEND__FILE__PATH=/srv` | `--set backend.file.path=/srv` |
//!
//! Which plugins there are is for the [`Registry`](eidetica_kernel::registry::Registry) to say: each has its own table,
//! `[default.KIND.NAME]`, and decodes it itself. `node.toml` beside this crate shows every option.
//!
//! Reading is pure but for the file: nothing is opened, and all that is wrong is reported at once, each [`Fault`] with the
//! exact key, where it was set, and what was expected.
//!
//! ```
//! use eidetica_config::{Config, Sources};
//! # use eidetica_scheduler_standard as _;
//!
//! let sources = Sources { set: vec!["scheduler.standard.jiter=0".into()], ..Sources::default() };
//! let error = Config::load(sources).unwrap_err();
//! let fault = eidetica_config::faults(&error)
//!     .iter()
//!     .find(|fault| fault.key == "scheduler.standard.jiter")
//!     .expect("a typing error is found");
//! assert_eq!(fault.origin, "flag --set scheduler.standard.jiter");
//! assert_eq!(fault.message, "unknown key; did you mean \"jitter\"?");
//! ```

mod chosen;
mod config;
mod decode;
mod fault;
mod layers;
mod open;
mod schema;
mod sections;
mod show;

pub use chosen::Chosen;
pub use config::Config;
pub use fault::{Fault, faults};
pub use layers::{Flag, PROFILES, RESERVED, Sources};
pub use schema::schema;
pub use sections::{Admission, Node, Peer};
pub use show::Setting;
