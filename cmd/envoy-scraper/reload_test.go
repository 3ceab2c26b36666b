package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestF2ReloadsLeaveNothingBehind: a hundred reloads that change a job, an endpoint and a list of targets.
func TestF2ReloadsLeaveNothingBehind(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "x 1\n")
	}))
	defer page.Close()
	rcv := &receiver{last: map[string]float64{}, labels: map[string]bool{}}
	endpoint := httptest.NewServer(rcv)
	defer endpoint.Close()
	dir := t.TempDir()
	file, list := filepath.Join(dir, "f.yml"), filepath.Join(dir, "list.yml")
	write := func(i int) {
		t.Helper()
		for name, text := range map[string]string{
			list: fmt.Sprintf("- {targets: ['%s'], labels: {n: '%d'}}\n", strings.TrimPrefix(page.URL, "http://"), i%3),
			file: fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
- {job_name: steady, static_configs: [{targets: ['%[1]s']}]}
- {job_name: other, params: {n: ['%[3]d']}, file_sd_configs: [{files: ['%[4]s'], refresh_interval: %[3]dh}]}
remote_write:
- {name: steady, url: '%[2]s', queue_config: {batch_send_deadline: 100ms}}
- {name: aside, url: '%[2]s/%[3]d', queue_config: {batch_send_deadline: 100ms}}
`, strings.TrimPrefix(page.URL, "http://"), endpoint.URL, i+1, list),
		} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(0)
	var stderr log
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, []string{"--config.file=" + file, "--web.listen-address=127.0.0.1:0",
			"--web.enable-lifecycle", "--storage.path=" + t.TempDir()}, io.Discard, &stderr)
	}()
	eventually(t, "the address in the log", func() bool { return served.MatchString(stderr.String()) })
	base := "http://" + served.FindStringSubmatch(stderr.String())[1]
	eventually(t, "a sample of the other job", func() bool { return rcv.saw("n=0") })
	before := runtime.NumGoroutine()
	for i := range 100 {
		write(i + 1)
		resp, err := http.Post(base+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("reload %d: %s\n%s", i, resp.Status, stderr.String())
		}
	}
	after := 0
	defer func() {
		if t.Failed() {
			text := make([]byte, 1<<20)
			t.Logf("%d goroutines before, %d after\n%s", before, after, text[:runtime.Stack(text, true)])
		}
	}()
	const connections = 20 // each open one has three, of both its ends; one leaked by each reload would be a hundred
	eventually(t, fmt.Sprintf("about %d goroutines", before), func() bool {
		after = runtime.NumGoroutine()
		return after <= before+connections
	})
	t.Logf("%d goroutines before, %d after", before, after)
	stop()
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d", c)
	}
}
