package main

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// openStorage takes the directory in which what is not delivered yet outlives the process; nil: there is none.
func openStorage(f *runFlags, log *zap.Logger) (*queue.Store, error) {
	path := f.storagePath
	if path == "" {
		log.Warn("no --storage.path: what is not delivered when the process ends is lost")
		return nil, nil
	}
	store, err := queue.OpenStore(path, queue.OS())
	if err != nil {
		return nil, fmt.Errorf("--storage.path: %s: %w (choose a directory that can be written to, or --storage.path= to keep samples in memory only)", path, err)
	}
	return store, nil
}

// closeStorage gives the directory back.
func closeStorage(store *queue.Store, log *zap.Logger) {
	if store == nil {
		return
	}
	if err := store.Close(); err != nil {
		log.Warn("close storage", zap.Error(err))
	}
}
