package pushdown

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/template"
	"time"
)

//go:embed testdata/bootstrap.yaml.tmpl
var bootstrap string

// settings are what the bootstrap has besides what all have.
type settings struct {
	Istio      bool // Istio's labels instead of Envoy's
	InsideWord bool // a name in which Istio's label cache cuts inside a word
	Clusters   []string

	AdminPort, HTTPPort, NamedPort, TCPPort, AppPort int
}

// clusterNames have words of Istio's labels in them, and characters that a regex or a path could stumble over.
var clusterNames = []string{`"outbound|80||reviews.default.svc.cluster.local"`, `"outbound|80|v1|my-cache.default"`,
	`"inbound|9080||"`, `"component.pilot.tag.x;.y"`, `'we"ird\one'`, `"agent"`, `"a+b c%20d"`}

// envoy is a running Envoy.
type envoy struct{ settings }

// startEnvoy starts an Envoy whose stats have moved, for the time of the test. `make e2e` has the path of its binary in
// PUSHDOWN_ENVOY; without it the test is skipped.
func startEnvoy(t *testing.T, s settings) *envoy {
	t.Helper()
	path := os.Getenv("PUSHDOWN_ENVOY")
	if path == "" {
		if os.Getenv("E2E_NO_SKIP") == "1" {
			t.Fatal("NO REAL ENVOY: PUSHDOWN_ENVOY is empty")
		}
		t.Skip("SKIPPED: no real Envoy (PUSHDOWN_ENVOY=$(e2e/tools/envoy.sh))")
	}
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(app.Close)
	s.AppPort = app.Listener.Addr().(*net.TCPAddr).Port
	ports := freePorts(t, 4)
	s.AdminPort, s.HTTPPort, s.NamedPort, s.TCPPort = ports[0], ports[1], ports[2], ports[3]
	return s.start(t, path)
}

// freePorts returns different ports that nobody listens on.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func (s settings) start(t *testing.T, path string) *envoy {
	t.Helper()
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	var text, log bytes.Buffer
	if err := template.Must(template.New("bootstrap").Parse(bootstrap)).Execute(&text, s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "--config-path", file, "--disable-hot-restart", "--concurrency", "2",
		"--log-level", "error")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	t.Cleanup(func() { stop(); <-gone })

	e, began := &envoy{s}, time.Now()
	for _, err := e.get(t.Context(), e.HTTPPort, "/"); err != nil; _, err = e.get(t.Context(), e.HTTPPort, "/") {
		select {
		case <-gone:
			t.Fatalf("Envoy has ended: %.1000s", log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(began) > time.Minute {
			t.Fatal("Envoy does not answer: ", err)
		}
	}
	for _, path := range []string{"/", "/answer/404", "/answer/503", "/denied", "/healthz", "/broken"} {
		_, _ = e.get(t.Context(), e.HTTPPort, path) // the answer may be an error on purpose
	}
	return e
}

// get returns the body of a page. The status is not looked at.
func (e *envoy) get(ctx context.Context, port int, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// page returns the statistics page; with a filter, unless it is empty.
func (e *envoy) page(t *testing.T, filter string) string {
	t.Helper()
	path := "/stats/prometheus"
	if filter != "" {
		path += "?filter=" + url.PathEscape(filter)
	}
	text, err := e.get(t.Context(), e.AdminPort, path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var rawLine = regexp.MustCompile(`^(.*?): (?:\d+|No recorded values|P0\(.*)$`)

// rawNames returns the raw names of all stats but text readouts, which are not on the statistics page.
func (e *envoy) rawNames(t *testing.T) (names []string) {
	t.Helper()
	text, err := e.get(t.Context(), e.AdminPort, "/stats")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if match := rawLine.FindStringSubmatch(strings.TrimSuffix(line, "\n")); match != nil {
			names = append(names, match[1])
		}
	}
	return names
}

// series returns the series of a page in their order: the text of their lines without the value.
func series(page string) (all []string) {
	for line := range strings.Lines(page) {
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			all = append(all, line[:at])
		}
	}
	return all
}

var typeLine = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
