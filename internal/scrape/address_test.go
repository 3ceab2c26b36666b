package scrape

import "testing"

func TestHostPortIsCanonical(t *testing.T) {
	for _, c := range [][4]string{
		{"http", "a", "", "a:80"},
		{"https", "a", "", "a:443"},
		{"http", "a", "015090", "a:15090"},
		{"http", "A.Example", "1", "a.example:1"},
		{"http", "a.", "1", "a.:1"}, // not the same name as a: a may be completed by a search domain
		{"http", "fd00:0::1", "1", "[fd00::1]:1"},
		{"http", "::ffff:10.0.0.1", "1", "10.0.0.1:1"},
		{"http", "fe80::1%eth0", "1", "[fe80::1%eth0]:1"},
		{"http", "a", "65536", "a:65536"}, // no valid port
	} {
		if got := hostPort(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("%q: %q, want %q", c[:3], got, c[3])
		}
		if got := canonicalAddr(c[3]); got != c[3] {
			t.Errorf("canonicalAddr(%q) = %q", c[3], got)
		}
	}
}

// FuzzHosts: any host means at most two addresses, and each address parses to itself.
func FuzzHosts(f *testing.F) {
	for _, host := range []string{"10.0.0.1", "0xa9fea9fe", "2852039166", "0251.0376.43518", "a.example.",
		"１６９。254.169.254", "::1", "0x", "1.2.3.4.5", "fe80::1%a"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		ips := literalAddrs(host)
		if len(ips) > 2 {
			t.Errorf("%q: %v", host, ips)
		}
		for _, ip := range ips {
			again := literalAddrs(ip.String())
			if len(again) == 0 || again[0].WithZone("") != ip.WithZone("") {
				t.Errorf("%q: %v, which is %v", host, ip, again)
			}
		}
	})
}
