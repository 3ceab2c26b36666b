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

// Whoever may create a pod chooses the addresses that a job of pods dials. The guard stands behind name
// resolution, at the moment of dialling, so that no name and no redirect leads around it.

// metadata are addresses that answer whoever asks from a machine of a cloud, with credentials among other things,
// beside the link-local ones that most clouds use.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("fd00:ec2::/32"),      // AWS
	netip.MustParsePrefix("fd20:ce::254/128"),   // Google Cloud
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba Cloud
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle Cloud
	netip.MustParsePrefix("fd00:42::42/128"),    // Scaleway
}

// inIPv6 are prefixes whose addresses hold an address of IPv4 in the four bytes from at.
var inIPv6 = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::/96"), 12},           // IPv4-compatible (RFC 4291, 2.5.5.1)
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64 (RFC 6052)
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4 (RFC 3056)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // translated (RFC 2765)
}

// localNAT64 is the prefix of NAT64 that a network may use as it likes (RFC 8215). The network's own prefix begins so
// and has 48, 56, 64 or 96 bits. RFC 6052 puts the IPv4 address behind it, but leaves byte 8 out: 169.254.169.254
// behind 48 bits is 64:ff9b:1:a9fe:a9:fe00::.
var localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")

// localNAT64At are the bytes of the IPv4 address, for each length of the network's prefix.
var localNAT64At = [4][4]int{{6, 7, 9, 10}, {7, 9, 10, 11}, {9, 10, 11, 12}, {12, 13, 14, 15}}

// forbidden tells why an address is never dialled; empty: it may be.
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
			return "a discovered loopback address is not scraped unless --scrape.allow-loopback is given or a static list or file names it"
		}
		return ""
	}
	for _, p := range metadata {
		if p.Contains(ip) {
			return "the cloud metadata address is never scraped"
		}
	}
	for _, in := range inIPv6 {
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

// forbiddenBehindNAT64 is forbidden for an address of localNAT64. The length of the prefix is not known, so each is
// tried. An IPv4 address that begins with a zero byte, or ends in two, is no host: that length is not the one in use.
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

// forbiddenError is an address that is not dialled, whatever discovery, a name server or a redirect says.
type forbiddenError struct{ address, why string }

func (e *forbiddenError) Error() string {
	return fmt.Sprintf("refused to dial %s: %s", e.address, e.why)
}

// guard dials what a job's requests need. Immutable.
type guard struct {
	budget        budget
	allowLoopback bool
	proxies       map[string]bool // host:port: the configuration names them
	tokens        map[string]bool // host:port of OAuth2 token URLs, likewise; no target's request goes there
	resolver      *net.Resolver   // of tests; nil: the usual one
	socket        string          // what all requests go through, and nothing else is dialled; empty: none
}

func newGuard(cfg config_util.HTTPClientConfig, allowLoopback bool) *guard {
	g := &guard{allowLoopback: allowLoopback, proxies: proxiesOf(&cfg.ProxyConfig), tokens: map[string]bool{}}
	if cfg.OAuth2 != nil {
		if u, err := url.Parse(cfg.OAuth2.TokenURL); err == nil {
			g.tokens[hostPort(u.Scheme, u.Hostname(), u.Port())] = true
		}
		for proxy := range proxiesOf(&cfg.OAuth2.ProxyConfig) {
			g.tokens[proxy] = true
		}
	}
	return g
}

// proxiesOf are the proxies that a configuration, or the environment for it, names.
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

// asking is the key under which a context has the target that a request is for.
type asking struct{}

// dial connects to what a request for a target needs: the target, where it redirects to, a proxy.
func (g *guard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	t, _ := ctx.Value(asking{}).(*target)
	waiting := ctx
	if t != nil && t.timeout > 0 { // net/http dials on after the end of the request, so the timeouts are set here
		var cancel, stop func()
		ctx, cancel = context.WithTimeout(ctx, t.timeout)
		defer cancel()
		waiting, stop = context.WithTimeout(ctx, t.timeout-t.timeout/20) // the scrape shall learn why it fails
		defer stop()
	}
	return g.budget.descriptors.dial(waiting, t == nil || !t.silent.Load(), func() (net.Conn, error) { return g.connect(ctx, network, addr, t) })
}

// connect is dial without the bound of open files. t is nil where no target's request asks.
func (g *guard) connect(ctx context.Context, network, addr string, t *target) (net.Conn, error) {
	if g.socket != "" {
		return dialSocket(ctx, g.socket)
	}
	d := net.Dialer{KeepAlive: 30 * time.Second, Resolver: g.resolver}
	known := canonical(addr)
	if g.proxies[known] || t == nil && g.tokens[known] {
		return d.DialContext(ctx, network, addr) // what a proxy dials is its own affair
	}
	loopback := g.allowLoopback || t != nil && t.named && known == t.hostPort // not where it redirects to
	d.Control = func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if why := forbidden(ap.Addr(), loopback); why != "" {
			return &forbiddenError{address, why}
		}
		return nil
	}
	return d.DialContext(ctx, network, addr)
}

// check refuses an address that a URL names. Requests through a proxy need it: the proxy would dial.
func (g *guard) check(u *url.URL, t *target) error {
	if g.socket != "" {
		return nil
	}
	for _, ip := range addressesIn(u.Hostname()) {
		addr := hostPort(u.Scheme, u.Hostname(), u.Port())
		if why := forbidden(ip, g.allowLoopback || t.named && addr == t.hostPort); why != "" {
			return &forbiddenError{addr, why}
		}
	}
	return nil
}
