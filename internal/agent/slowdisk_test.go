package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// slowFiles makes no queue named slow before goOn is closed. It reports on begun when it is asked for one.
type slowFiles struct {
	queue.FS
	begun, goOn chan struct{}
}

// Mkdir implements queue.FS.
func (s slowFiles) Mkdir(dir string) error {
	if strings.Contains(dir, "slow") {
		select {
		case s.begun <- struct{}{}:
		default: // again
		}
		<-s.goOn
	}
	return s.FS.Mkdir(dir)
}

// TestPagesDoNotWaitForAReload: a reload opens the queue of a new endpoint on a disk that does not answer. Meanwhile
// the pages show the configuration in force.
func TestPagesDoNotWaitForAReload(t *testing.T) {
	const before = "scrape_configs: [{job_name: one}]\nremote_write:\n- {name: a, url: 'http://127.0.0.1:1/'}\n"
	file := filepath.Join(t.TempDir(), "f.yml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(before)
	opts := config.Options{File: file}
	cfg, err := config.Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	files := slowFiles{queue.OS(), make(chan struct{}, 1), make(chan struct{})}
	a, err := Open(Settings{Config: cfg, Options: opts, StoragePath: t.TempDir(),
		Web: web.Config{ListenAddress: "127.0.0.1:0"}}, World{Files: files}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	write(before + "- {name: slow, url: 'http://127.0.0.1:2/'}\n")
	reloaded := make(chan error, 1)
	go func() { reloaded <- a.Reload(t.Context()) }()
	<-files.begun
	shown := make(chan string, 1)
	go func() {
		a.Sources().Rules("one")
		a.Sources().Pods.Report()
		text, err := a.Sources().ConfigYAML()
		if err != nil {
			text = err.Error()
		}
		shown <- text
	}()
	select {
	case text := <-shown:
		if !strings.Contains(text, "name: a") || strings.Contains(text, "name: slow") {
			t.Errorf("the page shows\n%s", text)
		}
	case <-time.After(10 * time.Second):
		t.Error("the pages wait for the reload")
	}
	close(files.goOn)
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
	if text, err := a.Sources().ConfigYAML(); err != nil || !strings.Contains(text, "name: slow") {
		t.Errorf("after the reload: %v\n%s", err, text)
	}
}
