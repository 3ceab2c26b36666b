package main

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// openStorage takes the directory in which what is not delivered yet outlives the process; nil: there is none.
func openStorage(f *runFlags, log *zap.Logger) (*queue.Store, error) {
	if f.storagePath == "" {
		log.Warn("no --storage.path: what is not delivered when the process ends is lost")
		return nil, nil
	}
	store, err := queue.OpenStore(f.storagePath, queue.OS())
	if err != nil {
		return nil, fmt.Errorf("--storage.path: %w (give each process a directory of its own that it can write to; --storage.path= keeps samples in memory only)", err)
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
