//! Links every plugin that ships with Eidetica.
//!
//! A crate that is named in Cargo.toml but never in source isn't linked, and its plugins would be missing without a word:
//! hence one line for each here, and one in the program that wants them.
//!
//! Feature `iroh`, off by default, adds the transport of that name, and all that it brings.
//!
//! ```
//! use eidetica_kernel::registry::Registry;
//! use eidetica_plugins as _;
//!
//! assert!(Registry::linked()?.names("scheduler").contains(&"standard"));
//! # Ok::<(), eidetica_kernel::Error>(())
//! ```

#![deny(unused_crate_dependencies)]

use eidetica_auth_keys as _;
use eidetica_backend_file as _;
use eidetica_backend_memory as _;
use eidetica_scheduler_adaptive as _;
use eidetica_scheduler_manual as _;
use eidetica_scheduler_on_commit as _;
use eidetica_scheduler_periodic as _;
use eidetica_scheduler_standard as _;
use eidetica_store_doc as _;
use eidetica_store_table as _;
use eidetica_transport_http as _;
#[cfg(feature = "iroh")]
use eidetica_transport_iroh as _;
use eidetica_transport_memory as _;

#[cfg(test)]
mod tests {
    use eidetica_kernel::registry::Registry;

    #[test]
    fn exactly_these_plugins_are_linked() {
        let registry = Registry::linked().unwrap();
        let linked: Vec<(&str, &str)> =
            registry.plugins().iter().map(|plugin| (plugin.kind(), plugin.about().name)).collect();
        let shipped = [
            ("auth", "keys"),
            ("backend", "file"),
            ("backend", "memory"),
            ("scheduler", "adaptive"),
            ("scheduler", "manual"),
            ("scheduler", "on-commit"),
            ("scheduler", "periodic"),
            ("scheduler", "standard"),
            ("store", "doc"),
            ("store", "table"),
            ("transport", "http"),
            #[cfg(feature = "iroh")]
            ("transport", "iroh"),
            ("transport", "memory"),
        ];
        assert_eq!(linked, shipped);
    }
}
