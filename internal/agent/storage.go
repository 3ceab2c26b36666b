package agent

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// openStorage opens the directory of the queues, or returns nil if there is none.
func openStorage(path string, files queue.FS, log *zap.Logger) (*queue.Store, error) {
	if path == "" {
		log.Warn("no --storage.path: samples that are not delivered when the process ends are lost")
		return nil, nil
	}
	store, err := queue.OpenStore(path, files)
	if err != nil {
		return nil, fmt.Errorf("--storage.path: %w (give each process its own writable directory; --storage.path= "+
			"queues in memory only)", err)
	}
	return store, nil
}

// closeStorage closes the directory.
func closeStorage(store *queue.Store, log *zap.Logger) {
	if store == nil {
		return
	}
	if err := store.Close(); err != nil {
		log.Warn("close storage", zap.Error(err))
	}
}
