package scrape

import (
	"log/slog"
	"sync"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/util/logging"
)

// failureLog is a job's scrape_failure_log_file: a line of JSON, as Prometheus writes it, for each page that could not
// be had. Jobs may name the same file: each appends whole lines.
type failureLog struct {
	job string

	mu   sync.Mutex              // guards the following
	file *logging.JSONFileLogger // nil: none, or closed
}

func openFailureLog(cfg *promconfig.ScrapeConfig) (*failureLog, error) {
	file, err := logging.NewJSONFileLogger(cfg.ScrapeFailureLogFile)
	if err != nil {
		return nil, err
	}
	return &failureLog{job: cfg.JobName, file: file}, nil
}

func (f *failureLog) write(target, failure string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file != nil {
		slog.New(f.file).With("job_name", f.job).With("target", target).Error(failure)
	}
}

// reopen goes on in the file that other has open, and leaves it the one that was open here.
func (f *failureLog) reopen(other *failureLog) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.file, other.file = other.file, f.file
}

func (f *failureLog) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
}
