// Package receiver runs a real Prometheus, which scrapes nothing unless its configuration says so. It receives remote
// write and answers queries.
package receiver

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"

	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

// Protocol says which messages the receiver takes.
type Protocol int

// The two kinds of receiver.
const (
	V1Only  Protocol = iota // as Prometheus before 2.54: remote write 2.0 is answered with 415
	V1AndV2                 // as Prometheus 2.54 and later by default
)

// Config says where the binary is and where the receiver may write.
type Config struct {
	Bin      string // the folder that holds prometheus
	Dir      string // data and log; the caller removes it after Close
	Protocol Protocol
	YAML     string // its configuration; empty: it scrapes nothing
}

// Receiver is a running Prometheus.
type Receiver struct {
	cfg    Config
	port   int
	server *process.Process
	api    promv1.API
}

// Start starts Prometheus and returns when it is ready.
func Start(ctx context.Context, cfg Config) (*Receiver, error) {
	ports, err := process.FreePorts(1)
	if err != nil {
		return nil, err
	}
	r := &Receiver{cfg: cfg, port: ports[0]}
	client, err := api.NewClient(api.Config{Address: r.URL()})
	if err != nil {
		return nil, err
	}
	r.api = promv1.NewAPI(client)
	yaml := cmp.Or(cfg.YAML, "global: {}\n")
	if err := os.WriteFile(r.file("prometheus.yml"), []byte(yaml), 0o600); err != nil {
		return nil, err
	}
	if err := r.StartServer(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// StartServer starts Prometheus on the same port and data as before, and returns when it is ready.
func (r *Receiver) StartServer(ctx context.Context) (err error) {
	args := []string{
		"--config.file=" + r.file("prometheus.yml"),
		"--storage.tsdb.path=" + r.file("data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", r.port),
		"--web.enable-remote-write-receiver",
		"--web.enable-admin-api", // for Snapshot
		"--log.level=warn",
	}
	if r.cfg.Protocol == V1Only {
		args = append(args, "--web.remote-write-receiver.accepted-protobuf-messages=prometheus.WriteRequest")
	}
	r.server, err = process.Start(process.Spec{
		Name:    "prometheus",
		Path:    filepath.Join(r.cfg.Bin, "prometheus"),
		LogFile: r.file("prometheus.log"),
		Args:    args,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return r.server.WaitReady(ctx, process.Ready(r.URL()))
}

// Snapshot writes all that is stored into blocks, and returns the folder that has them.
func (r *Receiver) Snapshot(ctx context.Context) (string, error) {
	s, err := r.api.Snapshot(ctx, false)
	if err != nil {
		return "", fmt.Errorf("snapshot: %w", err)
	}
	return filepath.Join(r.file("data"), "snapshots", s.Name), nil
}

// URL returns the base of its pages and of its API.
func (r *Receiver) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", r.port) }

// WriteURL returns where it takes remote write.
func (r *Receiver) WriteURL() string { return r.URL() + "/api/v1/write" }

// Log returns what Prometheus has written so far.
func (r *Receiver) Log() string { return r.server.Log() }

// Close ends Prometheus at once.
func (r *Receiver) Close() {
	if r.server != nil {
		r.server.Kill()
	}
}

func (r *Receiver) file(name string) string { return filepath.Join(r.cfg.Dir, name) }
