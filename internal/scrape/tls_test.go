package scrape

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestS09TLS12AtLeast: a target is not scraped if it offers only TLS 1.1, unless min_version allows it, or if its
// certificate is not trusted.
func TestS09TLS12AtLeast(t *testing.T) {
	for name, c := range map[string]struct {
		max  uint16
		yaml string
		want string // in the error; empty: the page
	}{
		"TLS 1.1":           {tls.VersionTLS11, "insecure_skip_verify: true", "protocol version"},
		"TLS 1.2":           {tls.VersionTLS12, "insecure_skip_verify: true", ""},
		"TLS 1.3":           {tls.VersionTLS13, "insecure_skip_verify: true", ""},
		"unknown authority": {tls.VersionTLS13, "server_name: example.com", "certificate"},
		"TLS 1.1 allowed":   {tls.VersionTLS11, "{insecure_skip_verify: true, min_version: TLS11}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			silenceLog(t)
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				_, _ = w.Write([]byte("x 1\n"))
			}))
			srv.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: c.max}
			srv.StartTLS()
			defer srv.Close()
			yaml := "  tls_config: {" + strings.Trim(c.yaml, "{}") + "}\n"
			_, s := fetchURL(t, yaml, false, false, true, srv.URL+"/")
			if (c.want == "") != (s.err == "") || !strings.Contains(s.err, c.want) {
				t.Errorf("error %q, want %q", s.err, c.want)
			}
		})
	}
}
