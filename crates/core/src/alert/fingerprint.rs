//! What makes two detections the same alert: rule and entity, never the time of processing.

use super::Origin;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// A property of the origin that detections can be grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupField {
    /// [`Origin::host`].
    Host,
    /// [`Origin::user`].
    User,
    /// [`Origin::src_ip`].
    SrcIp,
    /// [`Origin::service`].
    Service,
    /// [`Origin::k8s_namespace`].
    K8sNamespace,
    /// [`Origin::k8s_pod`].
    K8sPod,
    /// [`Origin::container`].
    Container,
}

impl GroupField {
    /// All of them, in the order in which they enter a fingerprint.
    pub const ALL: [GroupField; 7] = [
        GroupField::Host,
        GroupField::User,
        GroupField::SrcIp,
        GroupField::Service,
        GroupField::K8sNamespace,
        GroupField::K8sPod,
        GroupField::Container,
    ];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            GroupField::Host => "host",
            GroupField::User => "user",
            GroupField::SrcIp => "src_ip",
            GroupField::Service => "service",
            GroupField::K8sNamespace => "k8s_namespace",
            GroupField::K8sPod => "k8s_pod",
            GroupField::Container => "container",
        }
    }

    /// The value in `origin`; empty where it is not known.
    pub fn of(self, origin: &Origin) -> &str {
        match self {
            GroupField::Host => &origin.host,
            GroupField::User => &origin.user,
            GroupField::SrcIp => &origin.src_ip,
            GroupField::Service => &origin.service,
            GroupField::K8sNamespace => &origin.k8s_namespace,
            GroupField::K8sPod => &origin.k8s_pod,
            GroupField::Container => &origin.container,
        }
    }
}

impl FromStr for GroupField {
    type Err = String;

    /// Reads a name as [`GroupField::as_str`] writes it; the error names what is possible.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        GroupField::ALL.into_iter().find(|field| field.as_str() == name).ok_or_else(|| {
            let names: Vec<_> = GroupField::ALL.iter().map(|field| field.as_str()).collect();
            format!("cannot group by `{name}`: must be one of {}", names.join(", "))
        })
    }
}

/// Identity of an alert: SHA-256 over the sender's instance, the rule id and the entity.
///
/// The receiver joins everything with one fingerprint into one alert, so it must be the same after
/// a restart, on another machine and for a row read twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Fingerprint of `rule_id` on the entity that `fields` (in the order of
    /// [`GroupField::ALL`]) select from `origin`.
    pub fn new(instance: &str, rule_id: &str, fields: &[GroupField], origin: &Origin) -> Fingerprint {
        let mut hash = Sha256::new();
        // Each part carries its length, so that no two lists of parts read the same.
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        part(instance);
        part(rule_id);
        for field in fields {
            part(field.as_str());
            part(field.of(origin));
        }
        Fingerprint(hash.finalize().into())
    }

    /// Fingerprint of `rule_id` on the many entities that have no alert of their own.
    pub fn of_many(instance: &str, rule_id: &str) -> Fingerprint {
        let mut hash = Sha256::new();
        // Three parts, where an entity makes an even number of them.
        for part in [instance, rule_id, "*"] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Fingerprint(hash.finalize().into())
    }
}

impl fmt::Display for Fingerprint {
    /// 64 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a fingerprint: 64 hex digits are needed");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Fingerprint(bytes))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(host: &str, user: &str) -> Origin {
        Origin { host: host.into(), user: user.into(), ..Origin::default() }
    }

    #[test]
    fn it_never_changes_between_releases() {
        // A changed fingerprint would open every known alert a second time at the receiver.
        let print = Fingerprint::new("default", "rule-1", &[GroupField::Host], &origin("web-01", ""));
        assert_eq!(print.to_string(), "b978b92b5be22598f17d2a6e70993882f99986f2415dfcdd163ff36b83d50dca");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let fields = [GroupField::Host, GroupField::User];
        let one = Fingerprint::new("default", "rule", &fields, &origin("ab", "c"));
        let two = Fingerprint::new("default", "rule", &fields, &origin("a", "bc"));
        assert_ne!(one, two);
        assert_ne!(one, Fingerprint::new("other", "rule", &fields, &origin("ab", "c")));
        let all = Fingerprint::new("default", "rule", &[], &origin("ab", "c"));
        assert_ne!(all, Fingerprint::of_many("default", "rule"));
    }

    #[test]
    fn text_form_reads_back() {
        let print = Fingerprint::new("", "", &[], &Origin::default());
        assert_eq!(print.to_string().parse(), Ok(print));
        assert!("zz".parse::<Fingerprint>().is_err());
        assert!("é".repeat(32).parse::<Fingerprint>().is_err());
    }

    #[test]
    fn unknown_group_fields_name_the_known_ones() {
        assert_eq!("src_ip".parse(), Ok(GroupField::SrcIp));
        let error = "ip".parse::<GroupField>().unwrap_err();
        assert!(error.contains("`ip`") && error.contains("src_ip"), "{error}");
    }
}
