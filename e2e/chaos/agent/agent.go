// Package agent starts the envoy-scraper binary under test as a child process, and reads its metrics.
package agent

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

// Knows reports whether the program has a flag.
func Knows(t *testing.T, path, flag string) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path, "run", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%s run --help: %v\n%s", path, err, out)
	}
	return bytes.Contains(out, []byte("--"+flag))
}

// Config describes the process to start.
type Config struct {
	Path     string   // path of the binary
	Dir      string   // folder for the process's files
	Name     string   // base name of its files
	YAML     string   // content of the configuration file
	Args     []string // more flags
	Env      []string
	LogLevel string // default: info
}

// Agent is a process of the program under test.
type Agent struct {
	Process *process.Process
	URL     string
	started time.Time
}

// Start starts the program and returns at once. If the process still runs at the end of the test, it is killed.
func Start(t *testing.T, cfg Config) *Agent {
	t.Helper()
	file := filepath.Join(cfg.Dir, cfg.Name+".yml")
	if err := os.WriteFile(file, []byte(cfg.YAML), 0o600); err != nil {
		t.Fatal(err)
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	args := append([]string{"--config.file=" + file, "--web.listen-address=" + address}, cfg.Args...)
	if cfg.LogLevel != "" {
		args = append(args, "--log.level="+cfg.LogLevel)
	}
	p, err := process.Start(process.Spec{
		Name: "envoy-scraper", Path: cfg.Path, Args: args, Env: cfg.Env,
		LogFile: filepath.Join(cfg.Dir, cfg.Name+".log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return &Agent{Process: p, URL: "http://" + address, started: time.Now()}
}

// LogIfFailed logs the process's log at the end of the test if the test failed.
func (a *Agent) LogIfFailed(t *testing.T) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the program's log:\n%s", a.Process.Log())
		}
	})
}

// WaitReady waits until the process reports that it is ready. It returns the time since the process was started.
func (a *Agent) WaitReady(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := a.Process.WaitReady(ctx, process.Ready(a.URL))
	return time.Since(a.started), err
}

// Metrics reads the agent's own metrics.
func (a *Agent) Metrics(ctx context.Context) (Metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	return families, err
}

// Metrics holds the metric families of one page, by name.
type Metrics map[string]*dto.MetricFamily

// By sums the values of a family by one of its labels. With an empty label, all values are summed under "".
func (m Metrics) By(name, label string) map[string]float64 {
	sums := map[string]float64{}
	for _, metric := range m[name].GetMetric() {
		key := ""
		for _, l := range metric.GetLabel() {
			if l.GetName() == label {
				key = l.GetValue()
			}
		}
		sums[key] += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetUntyped().GetValue()
	}
	return sums
}

// Sum returns the sum of a family's values.
func (m Metrics) Sum(name string) float64 { return m.By(name, "")[""] }

// Matching returns the families whose name contains word and whose sum is not zero.
func (m Metrics) Matching(word string) map[string]float64 {
	sums := map[string]float64{}
	for name := range m {
		if strings.Contains(name, word) {
			if sum := m.Sum(name); sum != 0 {
				sums[name] = sum
			}
		}
	}
	return sums
}
