//! Where the package's units (`systemd/`) keep the ledger and the secrets of a configuration file, so that a command in a shell
//! finds those of the service: `sudo makegood once`, `sudo makegood --config /etc/makegood/acme.toml once`.
//!
//! `makegood.toml` is `makegood.service`, with `/var/lib/makegood` and the folder `credentials` beside the file; any other
//! `NAME.toml` in `/etc/makegood` is `makegood@NAME.service`, with `/var/lib/makegood/NAME` and `NAME.credentials`.

use std::path::{Path, PathBuf};

use super::environment::STATE_DIRECTORY;

/// Where the units look for configurations.
const CONFIGURATIONS: &str = "/etc/makegood";
const STATE: &str = "/var/lib/makegood";
const LEDGER: &str = "ledger.db";

/// The ledger of a configuration that names none.
pub(super) fn ledger(config: &Path, env: &[(String, String)]) -> PathBuf {
    let given = env.iter().find(|(name, _)| name == STATE_DIRECTORY);
    // Several `StateDirectory=` come as one text; the first is the ledger's.
    let given = given.and_then(|(_, folders)| folders.split(':').next()).filter(|folder| !folder.is_empty());
    match (given, instance(config)) {
        (Some(folder), _) => Path::new(folder).join(LEDGER),
        (None, Some(name)) if config.parent() == Some(Path::new(CONFIGURATIONS)) => {
            Path::new(STATE).join(name).join(LEDGER)
        }
        (None, _) => Path::new(STATE).join(LEDGER),
    }
}

/// The folder that this configuration's unit hands over as credentials, if it exists and this user may look into it.
pub(super) fn credentials(config: &Path) -> Option<PathBuf> {
    let name = instance(config).map_or_else(|| "credentials".to_owned(), |name| format!("{name}.credentials"));
    let folder = config.with_file_name(name);
    folder.read_dir().is_ok().then_some(folder)
}

/// The part after the `@`; none for `makegood.service`.
fn instance(config: &Path) -> Option<&str> {
    config.file_stem().and_then(|stem| stem.to_str()).filter(|stem| *stem != "makegood")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_lies_where_the_unit_of_the_configuration_has_its_state() {
        let ledger = |config: &str, env: &[(&str, &str)]| {
            let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            ledger(Path::new(config), &env).display().to_string()
        };
        assert_eq!(ledger("/etc/makegood/makegood.toml", &[]), "/var/lib/makegood/ledger.db");
        assert_eq!(ledger("/etc/makegood/acme.toml", &[]), "/var/lib/makegood/acme/ledger.db");
        assert_eq!(ledger("/home/kim/acme.toml", &[]), "/var/lib/makegood/ledger.db", "no unit's");
        assert_eq!(ledger("makegood.toml", &[]), "/var/lib/makegood/ledger.db");
        for folders in ["/var/lib/makegood/oops", "/var/lib/makegood/oops:/var/lib/other"] {
            assert_eq!(
                ledger("/etc/makegood/oops.toml", &[("STATE_DIRECTORY", folders)]),
                "/var/lib/makegood/oops/ledger.db"
            );
        }
        assert_eq!(ledger("/etc/makegood/makegood.toml", &[("STATE_DIRECTORY", "")]), "/var/lib/makegood/ledger.db");
    }

    #[test]
    fn the_secrets_lie_beside_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(credentials(&at("makegood.toml")), None);
        for (config, name) in [("makegood.toml", "credentials"), ("acme.toml", "acme.credentials")] {
            std::fs::create_dir(at(name)).unwrap();
            assert_eq!(credentials(&at(config)), Some(at(name)));
        }
        assert_eq!(credentials(&at("other.toml")), None);
    }
}
