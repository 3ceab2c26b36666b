package scrape

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	_ "github.com/prometheus/prometheus/discovery/file"
	_ "github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"golang.org/x/net/dns/dnsmessage"
)

func TestS06ForbiddenAddresses(t *testing.T) {
	for addr, c := range map[string]struct{ discovered, named bool }{
		"10.0.0.1":               {true, true},
		"2001:db8::1":            {true, true},
		"fd00::1":                {true, true},
		"::ffff:10.0.0.1":        {true, true},
		"64:ff9b::10.0.0.1":      {true, true},
		"127.0.0.1":              {false, true},
		"127.255.255.254":        {false, true},
		"::1":                    {false, true},
		"::ffff:127.0.0.1":       {false, true},
		"::127.0.0.1":            {false, true},
		"0.0.0.0":                {},
		"0.1.2.3":                {},
		"::":                     {},
		"169.254.169.254":        {},
		"169.254.0.1":            {},
		"169.254.170.2":          {}, // AWS container credentials
		"::ffff:169.254.169.254": {},
		"::169.254.169.254":      {},
		"64:ff9b::169.254.0.1":   {},
		"64:ff9b:1::a9fe:a9fe":   {},
		"2002:a9fe:a9fe::1":      {},
		"fe80::1":                {},
		"fe80::1%eth0":           {},
		"fe80::a9fe:a9fe":        {},
		"febf::1":                {},
		"fd00:ec2::254":          {},
		"fd00:ec2::23":           {}, // AWS pod credentials
		"fd00:ec2::254%eth0":     {},
		"fd20:ce::254":           {},
		"168.63.129.16":          {},
		"::ffff:168.63.129.16":   {},
		"100.100.100.200":        {},
		"192.0.0.192":            {},
		"fd00:42::42":            {},
		"224.0.0.1":              {},
		"239.1.2.3":              {},
		"ff02::1":                {},
		"ff05::1":                {},
		"255.255.255.255":        {},
	} {
		ip := netip.MustParseAddr(addr)
		if got := forbidden(ip, false) == ""; got != c.discovered {
			t.Errorf("%s, discovered: allowed %v", addr, got)
		}
		if got := forbidden(ip, true) == ""; got != c.named {
			t.Errorf("%s, named by the configuration: allowed %v", addr, got)
		}
	}
}

func TestS06OnlyThePodsOwnAddress(t *testing.T) {
	cfg := job(t, "")
	for name, c := range map[string]struct {
		address, podIP string
		refused        string // part of the error; empty: none
	}{
		"own":                      {"10.0.0.1:15090", "10.0.0.1", ""},
		"own, IPv6":                {"[fd00::1]:15090", "fd00::1", ""},
		"own, written differently": {"[fd00:0::1]:15090", "fd00::1", ""},
		"another pod's":            {"10.0.0.2:15090", "10.0.0.1", "not the pod's own"},
		"a name":                   {"pod.example:15090", "10.0.0.1", "not the pod's own"},
		"no pod":                   {"10.0.0.1:15090", "", "not the address of a pod"},
		"user info before it":      {"10.0.0.1:1@10.0.0.2:15090", "10.0.0.1", "not"},
	} {
		own := model.LabelSet{model.AddressLabel: model.LabelValue(c.address), podIPLabel: model.LabelValue(c.podIP)}
		m := makeTargets(cfg, []*targetgroup.Group{{Targets: []model.LabelSet{own}}}, true)
		if c.refused == "" && len(m.targets) != 1 || c.refused != "" &&
			(len(m.targets) != 0 || len(m.errors) != 1 || !strings.Contains(m.errors[0], c.refused)) {
			t.Errorf("%s: %d targets, errors %q", name, len(m.targets), m.errors)
		}
		// A try before the scrapes keeps the promise, too.
		own[podNameLabel], own[namespaceLabel] = "cart-0", "shop"
		pages := PagesOfPods(cfg, []*targetgroup.Group{{Targets: []model.LabelSet{own}}},
			Options{OwnAddressOnly: func(string) bool { return true }})
		if len(pages) != len(m.targets) || len(pages) > 0 && (!pages[0].OwnAddressOnly || !pages[0].RefuseLoopback) {
			t.Errorf("%s: pages to try %+v", name, pages)
		}
	}
}

func TestS06WhichDiscoveriesMayNameLoopback(t *testing.T) {
	const static, file = "  static_configs: [{targets: [a]}]\n", "  file_sd_configs: [{files: [a.yml]}]\n"
	const http = "  http_sd_configs: [{url: 'http://a/'}]\n"
	path, url := model.LabelSet{"__meta_filepath": "a.yml"}, model.LabelSet{"__meta_filepath": "a.yml",
		"__meta_url": "http://a/"}
	for name, c := range map[string]struct {
		yaml  string
		group targetgroup.Group
		want  bool
	}{
		"static":                       {static, targetgroup.Group{Source: "0"}, true},
		"file":                         {file, targetgroup.Group{Source: "a.yml:0", Labels: path}, true},
		"http":                         {http, targetgroup.Group{Source: "http://a/:0", Labels: url}, false},
		"http that pretends":           {http + file, targetgroup.Group{Source: "http://a/:0", Labels: url}, false},
		"pod":                          {"", targetgroup.Group{Source: "pod/default/a"}, false},
		"pod of a job with lists":      {static + file, targetgroup.Group{Source: "pod/default/0"}, false},
		"a number, but no static list": {http, targetgroup.Group{Source: "0"}, false},
	} {
		if got := isNamed(job(t, c.yaml), &c.group); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestS06LocalNAT64: a network with its own NAT64 chooses the length of its prefix within 64:ff9b:1::/48. The position
// of the IPv4 address depends on the length.
func TestS06LocalNAT64(t *testing.T) {
	for addr, want := range map[string]bool{
		"64:ff9b:1:a9fe:a9:fe00::":      false, // 169.254.169.254 after 48 bits
		"64:ff9b:1:a9fe:a9:fe00:1:2":    false, // the bits after it mean nothing
		"64:ff9b:1:12a9:fe:a9fe::":      false, // after 56 bits
		"64:ff9b:1:1234:a9:fea9:fe00:0": false, // after 64 bits
		"64:ff9b:1:1:2:3:a9fe:a9fe":     false, // after 96 bits
		"64:ff9b:1:7f00:0:100::":        false, // 127.0.0.1
		"64:ff9b:1:a83f:81:1000::":      false, // 168.63.129.16
		"64:ff9b:1:a00:0:100::":         true,  // 10.0.0.1 after 48 bits
		"64:ff9b:1:a:0:1::":             true,  // after 56 bits
		"64:ff9b:1:0:a:0:100:0":         true,  // after 64 bits
		"64:ff9b:1::a00:1":              true,  // after 96 bits
		"64:ff9b:1:a9fe::a00:1":         true,  // 10.0.0.1 too: 169.254.0.0 is no host
	} {
		if got := forbidden(netip.MustParseAddr(addr), false) == ""; got != want {
			t.Errorf("%s: allowed %v, want %v", addr, got, want)
		}
	}
}

// fetchURL requests a URL with the fetcher of a job.
func fetchURL(t *testing.T, yaml string, allowLoopback, ownAddress, named bool, url string) (*fetcher, pageResult) {
	t.Helper()
	f, err := newFetcher(job(t, yaml), Options{AllowLoopback: allowLoopback}, ownAddress)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	_, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	return f, getPage(t.Context(), f, &target{url: url, hostPort: host, named: named})
}

// TestS06RebindingNames: the address that is dialed is checked, not what the name resolved to before.
func TestS06RebindingNames(t *testing.T) {
	page := startRawServer(t, respond(okResponse))
	_, port, _ := net.SplitHostPort(page.host)
	for name, yaml := range map[string]string{"plain": "", "net/http": "  basic_auth: {username: a, password: b}\n"} {
		t.Run(name, func(t *testing.T) {
			var lookups atomic.Int32
			f, err := newFetcher(job(t, yaml), Options{AllowLoopback: true}, false)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(f.close)
			f.guard.resolver = nameServer(t, func() netip.Addr {
				if lookups.Add(1) == 1 {
					return netip.MustParseAddr("127.0.0.1")
				}
				return netip.MustParseAddr("169.254.169.254")
			})
			host := "moves.example.:" + port
			for _, want := range []string{"", "never scraped"} {
				f.client.CloseIdleConnections()
				if f.plain != nil {
					f.plain.idle.forget(host)
				}
				s := getPage(t.Context(), f, &target{url: "http://" + host + "/", hostPort: host})
				if (want == "") != (s.err == "") || !strings.Contains(s.err, want) {
					t.Errorf("after %d lookups: error %q, want %q", lookups.Load(), s.err, want)
				}
			}
		})
	}
}

// nameServer returns a resolver. The IPv4 address of every name is the result of address.
func nameServer(t *testing.T, address func() netip.Addr) *net.Resolver {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Additionals = true, nil
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: address().As4()},
				}}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = c.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", c.LocalAddr().String())
	}}
}

// TestS06Proxies: a configured proxy may have any address. Targets behind the proxy and those in no_proxy are checked.
func TestS06Proxies(t *testing.T) {
	proxy := startRawServer(t, respond(okResponse)) // on loopback, where discovered targets are refused
	hidden := startRawServer(t, respond(okResponse))
	viaProxy := "  proxy_url: http://" + proxy.host + "\n"
	for name, c := range map[string]struct {
		yaml, env, url string
		want           string // in the error; empty: the page
	}{
		"through the proxy": {yaml: viaProxy, url: "http://pod.example:15090/"},
		"a forbidden address": {yaml: viaProxy, url: "http://169.254.169.254/",
			want: "never scraped"},
		"a loopback address": {yaml: viaProxy, url: "http://" + hidden.host + "/",
			want: "loopback"},
		"a host in no_proxy": {yaml: viaProxy + "  no_proxy: localhost\n",
			url: "http://localhost:" + portOf(hidden.host) + "/", want: "loopback"},
		"proxy from the environment": {yaml: "  proxy_from_environment: true\n", env: proxy.host,
			url: "http://pod.example:15090/"},
		"no proxy in the environment": {yaml: "  proxy_from_environment: true\n",
			url: "http://localhost:" + portOf(hidden.host) + "/", want: "loopback"},
		"proxy from the environment, forbidden target": {yaml: "  proxy_from_environment: true\n", env: proxy.host,
			url: "http://[fd00:ec2::254]/", want: "never scraped"},
		"a decimal number":           {yaml: viaProxy, url: "http://2852039166/", want: "never scraped"},
		"a hexadecimal number":       {yaml: viaProxy, url: "http://0xA9FEa9fe:15090/", want: "never scraped"},
		"octal numbers":              {yaml: viaProxy, url: "http://0251.0376.0251.0376/", want: "never scraped"},
		"numbers with leading zeros": {yaml: viaProxy, url: "http://169.254.0169.0254/", want: "never scraped"},
		"fewer numbers":              {yaml: viaProxy, url: "http://169.0xfe.43518/", want: "never scraped"},
		"a trailing dot":             {yaml: viaProxy, url: "http://169.254.169.254./", want: "never scraped"},
		"full-width digits":          {yaml: viaProxy, url: "http://１６９。254.169.254/", want: "never scraped"},
		"loopback as a number": {yaml: viaProxy, url: "http://0x7f000001:" + portOf(hidden.host) + "/",
			want: "loopback"},
		"a number that is too large":       {yaml: viaProxy, url: "http://4294967296/"},
		"a name that begins with numbers":  {yaml: viaProxy, url: "http://169.254.example/"},
		"an ordinary address, as a number": {yaml: viaProxy, url: "http://0x0a000001/"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, key := range []string{"HTTP_PROXY", "http_proxy"} {
				t.Setenv(key, c.env)
			}
			t.Setenv("NO_PROXY", "")
			_, s := fetchURL(t, c.yaml, false, false, false, c.url)
			if (c.want == "") != (s.err == "") || !strings.Contains(s.err, c.want) {
				t.Errorf("error %q, want %q", s.err, c.want)
			}
		})
	}
	if len(hidden.requests()) != 0 {
		t.Error("a loopback address got a request")
	}
}

// TestS06AddressesAreComparedInCanonicalForm: the proxy and target that the configuration names are recognized however
// their host and port are written.
func TestS06AddressesAreComparedInCanonicalForm(t *testing.T) {
	page := startRawServer(t, respond(okResponse)) // on loopback
	port := "0" + portOf(page.host)
	if _, s := fetchURL(t, "  proxy_url: http://LOCALHOST:"+port+"\n", false, false, false,
		"http://pod.example/"); s.err != "" {
		t.Errorf("through a proxy on port %s: %s", port, s.err)
	}
	for kind, yaml := range map[string]string{"plain": "", "net/http": "  basic_auth: {username: a, password: b}\n"} {
		cfg := job(t, yaml+"  static_configs: [{targets: ['LOCALHOST:"+port+"']}]\n")
		m := makeTargets(cfg, []*targetgroup.Group{{Source: "0", Targets: []model.LabelSet{at("LOCALHOST:" + port)}}},
			false)
		f, err := newFetcher(cfg, Options{}, false)
		if err != nil || len(m.targets) != 1 {
			t.Fatalf("%v, %q", err, m.errors)
		}
		t.Cleanup(f.close)
		if s := getPage(t.Context(), f, m.targets[0]); s.err != "" {
			t.Errorf("%s: a target on port %s that a static list names: %s", kind, port, s.err)
		}
	}
}

func portOf(host string) string {
	_, port, _ := net.SplitHostPort(host)
	return port
}

// TestS06TokenURL: the configured token endpoint may be on loopback, but only for token requests.
func TestS06TokenURL(t *testing.T) {
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token": "a", "token_type": "Bearer"}`)
	}))
	defer tokens.Close()
	host := strings.TrimPrefix(tokens.URL, "http://")
	yaml := "  oauth2: {client_id: a, client_secret: b, token_url: '" + tokens.URL + "/'}\n"
	// The token is fetched. Then dialing the target on loopback is refused.
	if _, s := fetchURL(t, yaml, false, false, false, "http://localhost:"+portOf(host)+"/"); !strings.Contains(s.err,
		"loopback") || strings.Contains(s.err, "oauth2") {
		t.Errorf("error %q", s.err)
	}
	if _, s := fetchURL(t, yaml, false, false, false, tokens.URL+"/"); !strings.Contains(s.err, "loopback") {
		t.Errorf("a target on the address of the token endpoint: error %q", s.err)
	}
}

// TestT9Redirects: redirect loops end, and redirects to forbidden addresses are refused.
func TestT9Redirects(t *testing.T) {
	hidden := startRawServer(t, respond(okResponse))
	mux := http.NewServeMux()
	mux.HandleFunc("/loop", func(w http.ResponseWriter,
		r *http.Request) {
		http.Redirect(w, r, "/loop", http.StatusFound)
	})
	for path, to := range map[string]string{
		"/metadata": "http://169.254.169.254/latest", "/metadata6": "http://[fd00:ec2::254]/",
		"/mapped": "http://[::ffff:169.254.169.254]/",
		"/any":    "http://0.0.0.0:" + portOf(hidden.host) + "/", "/local": "http://" + hidden.host +
			"/", "/name": "http://localhost:" + portOf(hidden.host) + "/",
		"/file": "file:///etc/passwd", "/unix": "unix:///x",
	} {
		mux.Handle(path, http.RedirectHandler(to, http.StatusFound))
	}
	srv := httptest.NewServer(mux)
	defer srv.Close()
	for path, want := range map[string]string{
		"/loop": "10 redirects", "/metadata": "never scraped", "/metadata6": "never scraped",
		"/mapped": "never scraped",
		"/any":    "never scraped", "/local": "loopback", "/name": "loopback", "/file": "unsupported protocol",
		"/unix": "unsupported protocol",
	} {
		for kind, yaml := range map[string]string{"plain": "",
			"net/http": "  basic_auth: {username: a, password: b}\n"} {
			// A static list names the server on loopback. It does not name the redirect's target.
			_, s := fetchURL(t, yaml, false, false, true, srv.URL+path)
			if !strings.Contains(s.err, want) {
				t.Errorf("%s, %s: error %q, want %q", kind, path, s.err, want)
			}
		}
	}
	if len(hidden.requests()) != 0 {
		t.Error("a redirect to a loopback address was followed")
	}
	if got := reasonOf(fmt.Errorf("Get: %w", &forbiddenError{})); got != "forbidden_address" {
		t.Errorf("reason %q", got)
	}
	var refused *forbiddenError
	if _, err := (&guard{}).dial(t.Context(), "tcp", "169.254.169.254:80"); !errors.As(err, &refused) {
		t.Errorf("dial: %v, want the address refused", err)
	}
}

// TestS07CredentialsStayWithTheHost: after a redirect to another host no credentials of the job are sent. After a
// redirect to the same host they are.
func TestS07CredentialsStayWithTheHost(t *testing.T) {
	for name, yaml := range map[string]string{
		"basic_auth":    "  basic_auth: {username: canary, password: canary}\n",
		"authorization": "  authorization: {credentials: canary}\n",
		"http_headers": "  http_headers: {X-Token: {secrets: [canary]}, Cookie: {values: [canary]}, X-Plain: " +
			"{values: [canary]}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			other := startRawServer(t, respond(okResponse))
			var first *rawServer
			first = startRawServer(t, func(_ int, r *serverConn) {
				for r.readRequest() {
					to := "http://localhost:" + portOf(other.host) + "/"
					if strings.HasPrefix(first.requests()[len(first.requests())-1], "GET /same ") {
						to = "http://" + first.host + "/page"
					}
					if strings.HasPrefix(first.requests()[len(first.requests())-1], "GET /page ") {
						r.send(okResponse)
						continue
					}
					r.send("HTTP/1.1 302 Found\r\nLocation: " + to + "\r\nContent-Length: 0\r\n\r\n")
				}
			})
			if _, s := fetchURL(t, yaml, true, false, false, "http://"+first.host+"/other"); s.err != "" {
				t.Fatal(s.err)
			}
			if head := other.requests()[0]; hasCredentials(head) {
				t.Errorf("the other host got credentials:\n%s", head)
			}
			if _, s := fetchURL(t, yaml, true, false, false, "http://"+first.host+"/same"); s.err != "" {
				t.Fatal(s.err)
			}
			for _, head := range first.requests() {
				if !hasCredentials(head) {
					t.Errorf("the same host got no credentials:\n%s", head)
				}
			}
		})
	}
}

// TestS07NoRedirectOutOfTLS: a redirect from https to http is refused, so that nothing is sent unencrypted.
func TestS07NoRedirectOutOfTLS(t *testing.T) {
	silenceLog(t)
	clear := startRawServer(t, respond(okResponse))
	srv := httptest.NewTLSServer(http.RedirectHandler("http://"+clear.host+"/", http.StatusPermanentRedirect))
	defer srv.Close()
	yaml := "  tls_config: {insecure_skip_verify: true}\n  basic_auth: {username: canary, password: canary}\n"
	_, s := fetchURL(t, yaml, true, false, false, srv.URL+"/")
	if !strings.Contains(s.err, "https to http") {
		t.Errorf("error %q, want one about the redirect", s.err)
	}
	if n := len(clear.requests()); n != 0 {
		t.Errorf("%d requests were sent unencrypted", n)
	}
}

func hasCredentials(head string) bool {
	return strings.Contains(head, "canary") || strings.Contains(head, "Y2FuYXJ5OmNhbmFyeQ==")
}

// TestS06ReloadAppliesOwnAddressOnly: after a reload that restricts a job to pods' own addresses, its other targets are
// gone.
func TestS06ReloadAppliesOwnAddressOnly(t *testing.T) {
	r := newRig()
	only := false
	r.opts.OwnAddressOnly = func(string) bool { return only }
	r.apply(t, job(t, ""))
	r.discover(model.LabelSet{model.AddressLabel: "10.0.0.2:1", podIPLabel: "10.0.0.1"})
	if n := len(r.Status()[0].Targets); n != 1 {
		t.Fatalf("%d targets, want 1", n)
	}
	only = true
	if err := r.Apply([]*promconfig.ScrapeConfig{job(t, "")}); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Status()[0].Targets); n != 0 {
		t.Errorf("%d targets with other addresses are left", n)
	}
}
