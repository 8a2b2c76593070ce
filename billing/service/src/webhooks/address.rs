//! Where webhooks may be sent: to public addresses over TLS, unless the house allows its own
//! network. A name is looked up once for each attempt; what was checked is what is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;

/// Why a URL is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadUrl {
    #[error("an absolute URL such as https://example.com/hooks, without user, password or `#`")]
    NotAbsolute,
    #[error("a URL that begins with https://")]
    NotTls,
    #[error("a public host; `webhooks.allow_private` allows those of one's own network")]
    Private,
}

/// Where a webhook is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// As the header `host` has it.
    pub(super) authority: String,
    pub(super) path: String,
}

impl Target {
    /// The target of `url`.
    pub(crate) fn parse(url: &str, allow_private: bool) -> Result<Self, BadUrl> {
        let uri: Uri = url.parse().map_err(|_| BadUrl::NotAbsolute)?;
        let authority = uri.authority().ok_or(BadUrl::NotAbsolute)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if allow_private => false,
            Some("http") => return Err(BadUrl::NotTls),
            _ => return Err(BadUrl::NotAbsolute),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || authority.as_str().contains('@') || url.contains('#') {
            return Err(BadUrl::NotAbsolute);
        }
        let private = match host.parse::<IpAddr>() {
            Ok(address) => !is_public(address),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        };
        if private && !allow_private {
            return Err(BadUrl::Private);
        }
        Ok(Self {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// The addresses of the host, each of which may be connected to.
    pub(super) async fn resolve(&self, allow_private: bool) -> Result<Vec<SocketAddr>, NoAddress> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<SocketAddr> = found.map_err(NoAddress::Lookup)?.collect();
        if found.is_empty() {
            return Err(NoAddress::None);
        }
        // One private address among public ones is a trap, not an accident.
        if !allow_private && found.iter().any(|address| !is_public(address.ip())) {
            return Err(NoAddress::Private);
        }
        Ok(found)
    }
}

/// Why a host has no address to connect to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAddress {
    #[error("the host is unknown")]
    Lookup(#[source] std::io::Error),
    #[error("the host has no address")]
    None,
    #[error("the host has a private address, and `webhooks.allow_private` is off")]
    Private,
}

/// Whether an address is one of the public internet.
///
/// Source: IANA, "Special-Purpose Address Registries" of IPv4 and IPv6.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b));
    !special
}

/// Only global unicast is public, without what stands for other addresses.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let [a, b, ..] = address.segments();
    let global = a & 0xe000 == 0x2000;
    // 2001::/23 are protocols (Teredo among them), 2001:db8::/32 documentation, 2002::/16 is 6to4.
    global && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && a != 0x2002 && a != 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for text in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2001::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_url_is_public_and_encrypted_unless_the_house_allows_its_network() {
        let target = Target::parse("https://example.com/hooks?a=1", false).unwrap();
        assert_eq!((target.host.as_str(), target.port, target.tls), ("example.com", 443, true));
        assert_eq!(target.path, "/hooks?a=1");

        for (url, cause) in [
            ("http://example.com/", BadUrl::NotTls),
            ("https://127.0.0.1/", BadUrl::Private),
            ("https://[::1]:8443/", BadUrl::Private),
            ("https://LOCALHOST/", BadUrl::Private),
            ("https://169.254.169.254/latest/meta-data", BadUrl::Private),
        ] {
            assert_eq!(Target::parse(url, false), Err(cause), "{url}");
            assert!(Target::parse(url, true).is_ok(), "{url}");
        }
        for url in [
            "",
            "/hooks",
            "example.com",
            "ftp://example.com/",
            "https://a:b@example.com/",
            "https://example.com/#top",
            "https:///x",
        ] {
            assert_eq!(Target::parse(url, true), Err(BadUrl::NotAbsolute), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_private_address_is_not_connected_to() {
        let target = Target {
            tls: true,
            host: "localhost".to_owned(),
            port: 443,
            authority: "localhost".to_owned(),
            path: "/".to_owned(),
        };

        assert!(matches!(target.resolve(false).await, Err(NoAddress::Private)));
        assert!(target.resolve(true).await.is_ok());
    }
}
