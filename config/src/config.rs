//! A configuration, read and validated.

use eidetica_kernel::error::Result;
use eidetica_kernel::registry::Registry;

use crate::chosen::{Chosen, choose};
use crate::decode::Reader;
use crate::fault;
use crate::layers::{Layers, PROFILES, Sources};
use crate::show::{Setting, settings};

/// A configuration, read and validated; nothing is open yet.
///
/// ```
/// # use eidetica_plugins as _;
/// use eidetica_config::{Config, Sources};
///
/// let sources = Sources { set: vec!["backend.use=memory".into()], ..Sources::default() };
/// let config = Config::load(sources)?;
/// let used = config.show().iter().find(|setting| setting.key == "backend.use").expect("it is set");
/// assert_eq!(used.to_string(), r#"backend.use = "memory"  # flag --set backend.use"#);
/// assert!(!config.into_chosen().backend.capabilities().durable);
/// # Ok::<(), eidetica_kernel::Error>(())
/// ```
#[derive(Debug)]
pub struct Config {
    profile: &'static str,
    chosen: Chosen,
    settings: Vec<Setting>,
}

impl Config {
    /// Reads and validates a configuration for the plugins linked into this program. A path alone stands for that file,
    /// which must be there, under this process's environment.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](eidetica_kernel::ErrorKind::InvalidInput) with all [`faults`](crate::faults); whatever
    /// keeps the file from being read.
    pub fn load(sources: impl Into<Sources>) -> Result<Self> {
        Self::load_with(sources, &Registry::linked()?)
    }

    /// As [`Config::load`], for the plugins of `registry`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(sources: impl Into<Sources>, registry: &Registry) -> Result<Self> {
        let mut layers = Layers::read(&sources.into())?;
        let mut reader = Reader::new(layers.figment.clone().select(layers.profile));
        let chosen = choose(&mut reader, registry);
        let settings = settings(&reader, registry);
        let mut faults = std::mem::take(&mut layers.faults);
        faults.append(&mut reader.malformed);
        faults.append(&mut reader.unfit);
        // What no profile would accept is wrong in those that aren't selected too.
        for other in PROFILES.into_iter().filter(|profile| *profile != layers.profile) {
            let mut reader = Reader::new(layers.figment.clone().select(other));
            choose(&mut reader, registry);
            faults.append(&mut reader.malformed);
        }
        match chosen {
            Some(chosen) if faults.is_empty() => Ok(Self { profile: layers.profile, chosen, settings }),
            _ => Err(fault::error(faults)),
        }
    }

    /// The profile it was read for.
    pub fn profile(&self) -> &'static str {
        self.profile
    }

    /// What was chosen.
    pub fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// What was chosen, to be opened.
    pub fn into_chosen(self) -> Chosen {
        self.chosen
    }

    /// Every value with its origin, sorted by key; the defaults of the chosen plugins included, what looks secret blanked.
    pub fn show(&self) -> &[Setting] {
        &self.settings
    }
}
