package scrape

import (
	"log/slog"
	"sync"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/util/logging"
)

// failureLog writes a job's scrape_failure_log_file: one line of JSON for each page that could not be fetched, as in
// Prometheus. Several jobs may use the same file, because each line is appended whole.
//
//	{"time":"…","level":"ERROR","msg":"connection refused","job_name":"envoy","target":"http://10.0.0.1:15090/stats"}
type failureLog struct {
	job string

	mu   sync.Mutex              // guards the following
	file *logging.JSONFileLogger // nil: none configured, or closed
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

// reopen swaps the open files of f and other.
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
