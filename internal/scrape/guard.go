package scrape

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	config_util "github.com/prometheus/common/config"
)

// A user who may create a pod chooses the addresses that a job for pods dials. The guard checks each address when it is
// dialed, after name resolution, so that neither a DNS name nor a redirect bypasses it.

// metadataAddresses are the metadata services of clouds that are not link-local. They hand out credentials to any
// client on a machine of the cloud. The usual address, 169.254.169.254, is link-local.
var metadataAddresses = []netip.Prefix{
	netip.MustParsePrefix("fd00:ec2::/32"),      // AWS
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google Cloud
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud
	netip.MustParsePrefix("fd00:42::42/128"),    // Scaleway
}

// embeddedIPv4 are IPv6 prefixes whose addresses contain an IPv4 address in the four bytes from at.
var embeddedIPv4 = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::/96"), 12},           // IPv4-compatible (RFC 4291, 2.5.5.1)
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64 (RFC 6052)
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4 (RFC 3056)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // translated (RFC 2765)
}

// localNAT64 is the NAT64 prefix for local use (RFC 8215). A network chooses a prefix of 48, 56, 64 or 96 bits within
// it. RFC 6052 puts the IPv4 address after that prefix and skips byte 8: with 48 bits, 169.254.169.254 is
// 64:ff9b:1:a9fe:a9:fe00::.
var localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")

// localNAT64At are the indexes of the four bytes of the IPv4 address, for prefixes of 48, 56, 64 and 96 bits.
var localNAT64At = [4][4]int{{6, 7, 9, 10}, {7, 9, 10, 11}, {9, 10, 11, 12}, {12, 13, 14, 15}}

// forbidden returns why an address must not be dialed. If it may be dialed, it returns "".
func forbidden(ip netip.Addr, allowLoopback bool) string {
	ip = ip.Unmap().WithZone("")
	switch {
	case ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast():
		return "link-local addresses (cloud metadata) are never scraped"
	case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "multicast and broadcast addresses are never scraped"
	case ip.IsUnspecified() || ip.Is4() && ip.As4()[0] == 0:
		return "the unspecified address is never scraped"
	case ip.IsLoopback():
		if !allowLoopback {
			return "a discovered loopback address is not scraped unless --scrape.allow-loopback is given " +
				"or a static list or file names it"
		}
		return ""
	}
	for _, p := range metadataAddresses {
		if p.Contains(ip) {
			return "the cloud metadata address is never scraped"
		}
	}
	for _, in := range embeddedIPv4 {
		if in.prefix.Contains(ip) {
			b := ip.As16()
			return forbidden(netip.AddrFrom4([4]byte(b[in.at:in.at+4])), allowLoopback)
		}
	}
	if localNAT64.Contains(ip) {
		return forbiddenBehindNAT64(ip.As16(), allowLoopback)
	}
	return ""
}

// forbiddenBehindNAT64 is forbidden for an address in localNAT64. The length of the network's prefix is not known, so
// each length is tried. A length is skipped if its IPv4 address begins with a zero byte or ends in two: that is no
// host.
func forbiddenBehindNAT64(b [16]byte, allowLoopback bool) string {
	for _, at := range localNAT64At {
		v4 := [4]byte{b[at[0]], b[at[1]], b[at[2]], b[at[3]]}
		if v4[0] == 0 || v4[2] == 0 && v4[3] == 0 {
			continue
		}
		if why := forbidden(netip.AddrFrom4(v4), allowLoopback); why != "" {
			return why
		}
	}
	return ""
}

// forbiddenError says that an address was not dialed, and why.
type forbiddenError struct{ address, why string }

func (e *forbiddenError) Error() string {
	return fmt.Sprintf("refused to dial %s: %s", e.address, e.why)
}

// guard dials for the requests of one job and refuses forbidden addresses. Immutable.
type guard struct {
	budget        budget
	allowLoopback bool
	proxies       map[string]bool // configured proxies, as host:port; always allowed
	tokenHosts    map[string]bool // configured OAuth2 token endpoints, as host:port; allowed for token requests only
	network       dialFunc        // connects instead of the network of the machine; nil: that one
	resolver      *net.Resolver   // set by tests; nil: the default resolver
	socket        string          // Unix socket that is dialed instead of any address; empty: none
}

func newGuard(cfg config_util.HTTPClientConfig, allowLoopback bool) *guard {
	g := &guard{allowLoopback: allowLoopback, proxies: proxiesOf(&cfg.ProxyConfig), tokenHosts: map[string]bool{}}
	if cfg.OAuth2 != nil {
		if u, err := url.Parse(cfg.OAuth2.TokenURL); err == nil {
			g.tokenHosts[hostPort(u.Scheme, u.Hostname(), u.Port())] = true
		}
		for proxy := range proxiesOf(&cfg.OAuth2.ProxyConfig) {
			g.tokenHosts[proxy] = true
		}
	}
	return g
}

// proxiesOf returns the proxies that the configuration names, or the environment if the configuration says so.
func proxiesOf(cfg *config_util.ProxyConfig) map[string]bool {
	addrs := map[string]bool{}
	proxy := cfg.Proxy()
	if proxy == nil {
		return addrs
	}
	for _, scheme := range []string{"http", "https"} {
		u, err := proxy(&http.Request{URL: &url.URL{Scheme: scheme, Host: "no-proxy-names.invalid"}})
		if err == nil && u != nil {
			addrs[hostPort(u.Scheme, u.Hostname(), u.Port())] = true
		}
	}
	return addrs
}

// targetKey is the context key for the target of a request. A request for an OAuth2 token has no target.
type targetKey struct{}

// dial connects to a target, to the host of a redirect, to a proxy or to a token endpoint. It waits while too many
// connections are open.
func (g *guard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	t, _ := ctx.Value(targetKey{}).(*target)
	wait := ctx
	if t != nil && t.timeout > 0 { // net/http dials with a context that outlives the request
		var cancel, stop func()
		ctx, cancel = context.WithTimeout(ctx, t.timeout)
		defer cancel()
		// The wait ends at 95 % of the timeout, so that the scrape fails with connLimitError and not with a timeout.
		wait, stop = context.WithTimeout(ctx, t.timeout-t.timeout/20)
		defer stop()
	}
	return g.budget.connections.dial(wait, t == nil || !t.silent.Load(), func() (net.Conn, error) {
		return g.connect(ctx, network, addr, t)
	})
}

// connect opens the connection, once dial has found that one more may be open. A timeout of the connect alone belongs
// in the Dialer of open. t is nil for a token request.
func (g *guard) connect(ctx context.Context, network, addr string, t *target) (net.Conn, error) {
	if g.socket != "" { // as in Prometheus, also for redirects and for requests to a proxy
		return g.open(ctx, "unix", g.socket, nil)
	}
	known := canonicalAddr(addr)
	if g.proxies[known] || t == nil && g.tokenHosts[known] {
		return g.open(ctx, network, addr, nil) // check refuses forbidden targets behind a proxy
	}
	loopback := g.allowLoopback || t != nil && t.named && known == t.hostPort // not for redirects
	return g.open(ctx, network, addr, func(address string) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if why := forbidden(ap.Addr(), loopback); why != "" {
			return &forbiddenError{address, why}
		}
		return nil
	})
}

// open opens a connection. may returns why an address that the name stands for must not be dialed; nil: each may be
// dialed. On another network than the machine's, the address is known only when the connection is open. Then it is
// closed before anything is sent.
func (g *guard) open(ctx context.Context, network, addr string, may func(address string) error) (net.Conn, error) {
	if g.network == nil {
		d := net.Dialer{KeepAlive: 30 * time.Second, Resolver: g.resolver}
		if may != nil {
			d.Control = func(_, address string, _ syscall.RawConn) error { return may(address) }
		}
		return d.DialContext(ctx, network, addr)
	}
	c, err := g.network(ctx, network, addr)
	if err != nil || may == nil {
		return c, err
	}
	if err := may(c.RemoteAddr().String()); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// check refuses a URL whose host is a forbidden address. Requests through a proxy need it, because the proxy dials.
func (g *guard) check(u *url.URL, t *target) error {
	if g.socket != "" {
		return nil
	}
	for _, ip := range literalAddrs(u.Hostname()) {
		addr := hostPort(u.Scheme, u.Hostname(), u.Port())
		if why := forbidden(ip, g.allowLoopback || t.named && addr == t.hostPort); why != "" {
			return &forbiddenError{addr, why}
		}
	}
	return nil
}
