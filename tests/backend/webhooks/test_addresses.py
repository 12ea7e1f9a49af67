"""Which addresses webhooks may have, as far as it shows without asking DNS."""

import pytest

from backend.webhooks.addresses import Addresses, as_compared, is_public

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
PRIVATE = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001::1",
    "not an address",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_of_hosts_and_networks_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "https://example.org./hook?for=me#here",
        "HTTPS://EXAMPLE.org:443/hook",
        "https://example.org:8443/hook",
        "https://münchen.example.org/hook",
        "https://a_b.example.org/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
    ],
)
def test_addresses_of_the_internet_with_tls_are_taken(url: str) -> None:
    assert Addresses().fault_in(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/hook",
        "//example.org/hook",
        "https:///hook",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://example.org/",
        "https://example.org:0/",
        "https://example.org:22/",
        "https://example.org:80/",
        "https://example.org:99999/",
        "https://example.org:/\n",
        "https://user@example.org/",
        "https://:secret@example.org/",
        "https://example.org:443@127.0.0.1/",
        "https://example.org\\@127.0.0.1/",
        "https://exa mple.org/",
        "https://example.org/\r\nHost: inner",
        "https://*.example.org/",
        "https://example..org/",
        "https://%31%32%37.0.0.1/",
        "https://xn--/",
        "https://[::1/",
        "https://127.0.0.1/",
        "https://127.0.0.1./",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://①②⑦.⓪.⓪.①/",
        "https://127。0。0。1/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::1%25lo]/",
        "https://localhost/",
        "https://ⓛocalhost/",
        "https://printer/",
        "https://a.localhost/",
        "https://nas.local/",
        "https://metadata.google.internal/",
    ],
)
def test_every_other_spelling_is_refused(url: str) -> None:
    assert Addresses().fault_in(url)


def test_a_host_that_the_operator_named_may_be_private_and_without_tls() -> None:
    addresses = Addresses([as_compared(host) for host in ("Hooks.LAN.", "::1", "127.0.0.1")])
    for url in (
        "http://hooks.lan:80/",
        "http://HOOKS.lan./",
        "http://[0:0::1]/",
        "http://127.0.0.1:9",
    ):
        assert addresses.fault_in(url) is None
    for url in (
        "http://u:p@hooks.lan/",
        "http://127.0.0.2/",
        "http://a.hooks.lan/",
        "ftp://[::1]/",
    ):
        assert addresses.fault_in(url)
