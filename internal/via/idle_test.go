package via

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"k8s.io/client-go/rest"
)

// TestIdleConnectionsAreClosed: the transport of client-go that sets the User-Agent does not pass on what http.Client
// asks for.
func TestIdleConnectionsAreClosed(t *testing.T) {
	states := make(chan http.ConnState, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("a 1\n"))
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) { states <- s }
	server.Start()
	defer server.Close()
	p, err := New(Options{Way: APIServer, Limits: DefaultLimits()}, nil).
		Through(&rest.Config{Host: server.URL, UserAgent: "ours", Dial: new(net.Dialer).DialContext},
			&promconfig.ScrapeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := get(t.Context(), p, cart, "http://10.0.0.7:15090/"); err != nil {
		t.Fatal(err)
	}
	await := func(want http.ConnState) {
		t.Helper()
		for {
			select {
			case s := <-states:
				if s == want {
					return
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("the connection is not %v", want)
			}
		}
	}
	await(http.StateIdle)
	p.CloseIdleConnections()
	await(http.StateClosed)
}
