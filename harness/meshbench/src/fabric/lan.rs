//! The network of a site's own machines, where the scenario names it.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The network that VPNs are told to use inside, which is nobody's LAN.
pub(crate) const OVERLAY: [u8; 3] = [10, 77, 0];

/// A /24 that the Internet does not see, written as `192.168.178.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lan([u8; 3]);

impl Lan {
    /// The network of addresses that begin so, whatever it is for.
    pub(super) fn of(bytes: [u8; 3]) -> Self {
        Self(bytes)
    }

    /// The first three bytes of its addresses.
    pub(crate) fn bytes(self) -> [u8; 3] {
        self.0
    }
}

impl fmt::Display for Lan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        write!(f, "{a}.{b}.{c}.0/24")
    }
}

impl From<Lan> for String {
    fn from(lan: Lan) -> Self {
        lan.to_string()
    }
}

impl TryFrom<String> for Lan {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("a LAN is a /24 such as \"192.168.178.0/24\", not `{text}`");
        let network: Ipv4Addr =
            text.strip_suffix("/24").and_then(|network| network.parse().ok()).ok_or_else(wrong)?;
        let [a, b, c, 0] = network.octets() else { return Err(wrong()) };
        let carrier = a == 100 && (64..128).contains(&b);
        if !network.is_private() && !carrier {
            return Err(format!(
                "`{text}` is not private: a LAN lies in 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
            ));
        }
        // Some make one of /16 of it.
        if [a, b] == [OVERLAY[0], OVERLAY[1]] {
            return Err(format!("`{text}` is the network that VPNs have inside here"));
        }
        Ok(Self([a, b, c]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lan_is_a_private_24_and_written_as_it_was_read() {
        for text in ["192.168.178.0/24", "10.0.0.0/24", "100.64.7.0/24"] {
            let lan = Lan::try_from(text.to_owned()).unwrap();
            assert_eq!(lan.to_string(), text);
        }
        for (text, why) in [
            ("192.168.178.0/16", "a LAN is a /24"),
            ("192.168.178.1/24", "a LAN is a /24"),
            ("home", "a LAN is a /24"),
            ("8.8.8.0/24", "is not private"),
            ("100.128.0.0/24", "is not private"),
            ("10.77.0.0/24", "is the network that VPNs have inside"),
            ("10.77.1.0/24", "is the network that VPNs have inside"),
        ] {
            let said = Lan::try_from(text.to_owned()).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
