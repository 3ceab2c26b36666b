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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

// idleListeners is how many listeners have no traffic. Their stats are more than a quarter of the page: if the rules
// dropped fewer, the page would not be asked for with a filter.
const idleListeners = 20

//go:embed envoy.yaml.tmpl
var bootstrap string

// envoy is a real Envoy and the application behind all its clusters.
type envoy struct {
	*testing.T
	Dir, Clusters       string // the folder that Envoy watches, and the file with the clusters in it
	AdminPort, HTTPPort int
	StatPrefix          string // of the listener's stats
	Idle                []int  // listeners without traffic

	appPort int
	version int // of the file with the clusters
}

// startEnvoy starts an Envoy with these clusters for the time of the test. Without a real Envoy it skips the test.
func startEnvoy(t *testing.T, statPrefix string, clusters []string) *envoy {
	t.Helper()
	path := parts.Envoy(t)
	if path == "" {
		t.Skip("SKIPPED: needs a real Envoy")
	}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(app.Close)
	ports, err := process.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e := &envoy{T: t, Dir: dir, Clusters: filepath.Join(dir, "clusters.yaml"), AdminPort: ports[0], HTTPPort: ports[1],
		StatPrefix: statPrefix, appPort: app.Listener.Addr().(*net.TCPAddr).Port}
	for n := range idleListeners {
		e.Idle = append(e.Idle, 9000+n)
	}
	if err := e.setClusters(clusters); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := template.Must(template.New("bootstrap").Parse(bootstrap)).Execute(&text, e); err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir() // not the folder that Envoy watches
	file := filepath.Join(elsewhere, "envoy.yaml")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	p := parts.Run(t, process.Spec{Name: "envoy", Path: path, LogFile: filepath.Join(elsewhere, "envoy.log"),
		Args: []string{"--config-path", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answers := func(ctx context.Context) error { return e.request(ctx, clusters[0], "/") }
	if err := p.WaitReady(ctx, answers); err != nil {
		t.Fatal(err)
	}
	return e
}

// address returns where the statistics page is.
func (e *envoy) address() string { return fmt.Sprintf("127.0.0.1:%d", e.AdminPort) }

// setClusters replaces the file with the clusters. It is renamed into place, so Envoy sees one or the other.
func (e *envoy) setClusters(names []string) error {
	e.version++
	var b strings.Builder
	fmt.Fprintf(&b, "version_info: %q\nresources:\n", fmt.Sprint(e.version))
	for _, name := range names {
		fmt.Fprintf(&b, `- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: %[1]q
  type: STATIC
  connect_timeout: 1s
  load_assignment:
    cluster_name: %[1]q
    endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}}}]}]
`, name, e.appPort)
	}
	if err := os.WriteFile(e.Clusters+".new", []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(e.Clusters+".new", e.Clusters)
}

// request sends a request through a cluster. The status of the answer is an error only if nobody knows the cluster.
func (e *envoy) request(ctx context.Context, cluster, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", e.HTTPPort, path),
		nil)
	if err != nil {
		return err
	}
	req.Header.Set("x-cluster", cluster)
	status, _, err := do(req)
	if err == nil && status == http.StatusServiceUnavailable {
		err = fmt.Errorf("no answer from cluster %s", cluster)
	}
	return err
}

// page returns Envoy's whole page.
func (e *envoy) page() string {
	e.Helper()
	req, err := http.NewRequestWithContext(e.Context(), http.MethodGet, "http://"+e.address()+statsPath, nil)
	if err != nil {
		e.Fatal(err)
	}
	_, body, err := do(req)
	if err != nil {
		e.Fatal(err)
	}
	return body
}

func do(req *http.Request) (status int, body string, err error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// moveStats sends requests, and replaces some of the clusters every pause, until the returned function is called. Each
// replaced cluster lives for three pauses. stop returns how many clusters there were.
func (e *envoy) moveStats(always []string, pause time.Duration) (stop func() int) {
	ctx, cancel := context.WithCancel(e.Context())
	made, failed := 0, error(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		requests, changes := time.NewTicker(10*time.Millisecond), time.NewTicker(pause)
		defer requests.Stop()
		defer changes.Stop()
		var passing []string
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-changes.C:
				made++
				passing = append(passing, fmt.Sprintf("outbound|80||passing-%d.shop.svc.cluster.local", made))
				passing = passing[max(0, len(passing)-3):]
				if failed = e.setClusters(slices.Concat(always, passing)); failed != nil {
					return
				}
			case <-requests.C:
				all, path := slices.Concat(always[:len(always)/2], passing), "/"
				if n%7 == 0 {
					path = "/missing"
				}
				_ = e.request(ctx, all[n%len(all)], path) // Envoy may not have the cluster yet
			}
		}
	}()
	return func() int {
		cancel()
		<-done
		if failed != nil {
			e.Fatal(failed)
		}
		return made
	}
}
