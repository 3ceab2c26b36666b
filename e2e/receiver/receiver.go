// Package receiver runs a real Prometheus that receives remote write and answers queries. By default it scrapes no
// targets.
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

// Protocol is the set of remote write versions that the receiver accepts.
type Protocol int

// The two kinds of receivers.
const (
	V1Only  Protocol = iota // answers remote write 2.0 with 415, like Prometheus before 3.16 by default
	V1AndV2                 // accepts 1.0 and 2.0
)

// Config describes the binary and the folder to write to.
type Config struct {
	Bin      string // folder of the binary prometheus
	Dir      string // folder for data and log; the caller removes it after Close
	Protocol Protocol
	YAML     string // Prometheus' configuration; empty: no targets
}

// Receiver is a running Prometheus.
type Receiver struct {
	cfg    Config
	port   int
	server *process.Process
	api    promv1.API
}

// Start starts Prometheus. It returns when Prometheus is ready.
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

// StartServer starts Prometheus with the same port and data as before. It returns when Prometheus is ready.
func (r *Receiver) StartServer(ctx context.Context) (err error) {
	args := []string{
		"--config.file=" + r.file("prometheus.yml"),
		"--storage.tsdb.path=" + r.file("data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", r.port),
		"--web.enable-remote-write-receiver",
		"--web.enable-admin-api", // for Snapshot
		"--log.level=warn",
	}
	const accept = "--web.remote-write-receiver.accepted-protobuf-messages="
	args = append(args, accept+"prometheus.WriteRequest")
	if r.cfg.Protocol == V1AndV2 {
		args = append(args, accept+"io.prometheus.write.v2.Request")
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

// Snapshot writes all stored samples into blocks and returns the folder of the blocks.
func (r *Receiver) Snapshot(ctx context.Context) (string, error) {
	s, err := r.api.Snapshot(ctx, false)
	if err != nil {
		return "", fmt.Errorf("snapshot: %w", err)
	}
	return filepath.Join(r.file("data"), "snapshots", s.Name), nil
}

// URL returns the base URL of the pages and the API.
func (r *Receiver) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", r.port) }

// WriteURL returns the URL of the remote write endpoint.
func (r *Receiver) WriteURL() string { return r.URL() + "/api/v1/write" }

// Log returns Prometheus' log so far.
func (r *Receiver) Log() string { return r.server.Log() }

// Close kills Prometheus.
func (r *Receiver) Close() {
	if r.server != nil {
		r.server.Kill()
	}
}

func (r *Receiver) file(name string) string { return filepath.Join(r.cfg.Dir, name) }
