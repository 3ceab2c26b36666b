package scrape

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// hostPort returns host and port in canonical form, for comparing: `LOCALHOST:015090` becomes `localhost:15090`,
// `[0::1]:80` becomes `[::1]:80`. An empty port becomes the scheme's default.
func hostPort(scheme, host, port string) string {
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		port = strconv.FormatUint(n, 10)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(strings.ToLower(host), port)
}

// canonicalAddr is hostPort for an address in the form host:port.
func canonicalAddr(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return hostPort("", host, port)
}

// literalAddrs returns the IP addresses that a host means without a DNS lookup. It returns none for a DNS name.
//
// C libraries, and therefore proxies built on them, also accept the forms of inet_aton: 0xa9fea9fe, 2852039166,
// 169.254.43518 and 0251.0376.0251.0376 all mean 169.254.169.254. A number that begins with 0 is octal for some
// programs and decimal for others, so there can be two addresses.
func literalAddrs(host string) []netip.Addr {
	if !isASCII(host) {
		if ascii, err := idna.Lookup.ToASCII(host); err == nil { // as net/http does: １６９ becomes 169
			host = ascii
		}
	}
	host = strings.TrimSuffix(host, ".")
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}
	}
	var ips []netip.Addr
	for _, base := range []int{8, 10} {
		if ip, ok := parseInetAton(host, base); ok {
			ips = append(ips, ip)
		}
	}
	return ips
}

// parseInetAton parses an IPv4 address as inet_aton does: one to four numbers, of which the last fills the rest of the
// address. 169.254.43518 is 169.254.169.254. zeroBase is the base of numbers that begin with 0.
func parseInetAton(host string, zeroBase int) (ip netip.Addr, ok bool) {
	numbers := strings.Split(host, ".")
	if len(numbers) > 4 {
		return ip, false
	}
	var all uint64
	for i, text := range numbers {
		n, ok := parseNumber(text, zeroBase)
		bits := 8
		if i == len(numbers)-1 {
			bits = 8 * (5 - len(numbers))
		}
		if !ok || n>>bits != 0 {
			return ip, false
		}
		all = all<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(all >> 24), byte(all >> 16), byte(all >> 8), byte(all)}), true
}

func parseNumber(s string, zeroBase int) (n uint64, ok bool) {
	base := 10
	if rest, hex := strings.CutPrefix(strings.ToLower(s), "0x"); hex {
		s, base = rest, 16
	} else if len(s) > 1 && s[0] == '0' {
		base = zeroBase
	}
	n, err := strconv.ParseUint(s, base, 64)
	return n, err == nil
}
