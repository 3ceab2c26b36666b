package deliver

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// TestS09TLS12AtLeast: samples go over nothing older, and to nobody whose certificate is not vouched for.
func TestS09TLS12AtLeast(t *testing.T) {
	for name, c := range map[string]struct {
		most   uint16
		verify bool
		taken  bool
	}{
		"TLS 1.1":           {tls.VersionTLS11, false, false},
		"TLS 1.2":           {tls.VersionTLS12, false, true},
		"TLS 1.3":           {tls.VersionTLS13, false, true},
		"unknown authority": {tls.VersionTLS13, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter,
				_ *http.Request) {
				w.WriteHeader(http.StatusNoContent)
			}))
			srv.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: c.most}
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			srv.StartTLS()
			defer srv.Close()
			client := clientFor(t, srv.URL+"/write", func(ec *Settings) {
				ec.HTTPClientConfig.TLSConfig.InsecureSkipVerify = !c.verify
			})
			if a := client.Post(t.Context(), []byte("x"), wire.V2, 0); (a.Err == nil) != c.taken {
				t.Errorf("answer %+v, want it taken %v", a, c.taken)
			}
		})
	}
}
