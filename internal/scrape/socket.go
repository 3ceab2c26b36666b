package scrape

import (
	"fmt"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	promscrape "github.com/prometheus/prometheus/scrape"
)

// unixSocket returns the path of the Unix socket that a target is scraped through, or "" if it has none. Only targets
// of static lists and files (named) may have one. A pod's labels must not choose which sockets of this machine are
// opened.
func unixSocket(lset labels.Labels, named bool) (path string, err error) {
	path = lset.Get(promscrape.UnixSocketLabel)
	if path != "" && !named {
		return "", fmt.Errorf("%s: %s: only targets of a static list or file may use a Unix socket, "+
			"discovered ones may not", promscrape.UnixSocketLabel, path)
	}
	return path, nil
}

// socketFetchers holds a job's fetchers for targets with Unix sockets, one for each socket. A fetcher keeps connections
// by host and port, and targets of different sockets can have the same host and port. The zero value is ready.
type socketFetchers struct {
	mu     sync.Mutex // guards the following
	byPath map[string]*fetcher
}

// get returns the fetcher of a socket. The first time, it makes one with the configuration of parent.
func (s *socketFetchers) get(path string, parent *fetcher) (*fetcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.byPath[path]; f != nil {
		return f, nil
	}
	g := &guard{socket: path, budget: parent.guard.budget, network: parent.guard.network}
	f, err := newFetcherWithGuard(parent.cfg, g, parent.ownAddress)
	if err != nil {
		return nil, fmt.Errorf("HTTP client for Unix socket %s: %w", path, err)
	}
	f.byPlace = parent.byPlace
	if s.byPath == nil {
		s.byPath = map[string]*fetcher{}
	}
	s.byPath[path] = f
	return f, nil
}

// forget closes the fetcher of a socket whose target is gone. If another target uses the socket, get makes a new one.
func (s *socketFetchers) forget(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.byPath[path]; f != nil {
		f.close()
		delete(s.byPath, path)
	}
}

func (s *socketFetchers) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, f := range s.byPath {
		f.close()
		delete(s.byPath, path)
	}
}
