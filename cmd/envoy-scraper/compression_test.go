package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestCompressionFollowsTheFile: a target on this machine is asked for a plain page, unless the job writes
// enable_compression, also after a reload that writes nothing else than Prometheus' default.
func TestCompressionFollowsTheFile(t *testing.T) {
	var asked atomic.Value
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked.Store(req.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "x 1\n")
	}))
	defer page.Close()
	file := filepath.Join(t.TempDir(), "f.yml")
	write := func(more string) {
		t.Helper()
		text := fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs: [{job_name: envoy, static_configs: [{targets: ['%s']}]%s}]
remote_write: [{url: 'http://127.0.0.1:1/'}]
`, strings.TrimPrefix(page.URL, "http://"), more)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	var stderr log
	ctx, stop := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, []string{"--config.file=" + file, "--web.listen-address=127.0.0.1:0",
			"--web.enable-lifecycle", "--storage.path=" + t.TempDir(), "--storage.remote.flush-deadline=0s"},
			io.Discard, &stderr)
	}()
	eventually(t, "the address in the log", func() bool { return served.MatchString(stderr.String()) })
	reload := "http://" + served.FindStringSubmatch(stderr.String())[1] + "/-/reload"
	for _, c := range []struct{ more, want string }{
		{"", "identity"}, {", enable_compression: true", "gzip"}, {", enable_compression: false", "identity"},
		{", enable_compression: true", "gzip"}, {"", "identity"},
	} {
		write(c.more)
		resp, err := http.Post(reload, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		eventually(t, "Accept-Encoding: "+c.want, func() bool { return asked.Load() == c.want })
	}
	stop()
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d: %s", c, stderr.String())
	}
}
