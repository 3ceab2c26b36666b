package scrape

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	promscrape "github.com/prometheus/prometheus/scrape"
)

// socketOf returns the Unix socket that a target stands behind; empty: none. Only who writes the configuration chooses
// what this program opens on its own machine: whoever may create a pod chooses what its labels and annotations say.
func socketOf(lset labels.Labels, named bool) (path string, err error) {
	path = lset.Get(promscrape.UnixSocketLabel)
	if path != "" && !named {
		return "", fmt.Errorf("%s: %s: only a target of a static list or of a file may stand behind a Unix socket, not a discovered one",
			promscrape.UnixSocketLabel, path)
	}
	return path, nil
}

// sockets are a job's fetchers for targets behind Unix sockets, one a socket: connections are kept by host and port,
// which several sockets may share. The zero value is ready.
type sockets struct {
	mu sync.Mutex // guards the following
	by map[string]*fetcher
}

// through returns the fetcher of a socket.
func (s *sockets) through(path string, of *fetcher) (*fetcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.by[path]; f != nil {
		return f, nil
	}
	f, err := fetcherThrough(of.cfg, &guard{socket: path, budget: of.guard.budget}, of.ownAddress)
	if err != nil {
		return nil, fmt.Errorf("client for the Unix socket %s: %w", path, err)
	}
	if s.by == nil {
		s.by = map[string]*fetcher{}
	}
	s.by[path] = f
	return f, nil
}

// forget closes what is kept for a socket. Another target behind it makes it anew.
func (s *sockets) forget(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.by[path]; f != nil {
		f.close()
		delete(s.by, path)
	}
}

func (s *sockets) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, f := range s.by {
		f.close()
		delete(s.by, path)
	}
}

// dialSocket connects to a socket whatever the URL says, as Prometheus does: where a redirect leads to, and a proxy,
// are asked through it too.
func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}
