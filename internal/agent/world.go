package agent

import (
	"context"
	"net"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// World is what an agent uses of the machine that it runs on, except for the files of its configuration. The zero World
// is the machine.
type World struct {
	// Dial connects to targets, receivers, proxies, API servers and HTTP discoveries; nil: by the network of the
	// machine. Addresses that must not be scraped are refused here, too, when the connection shows its RemoteAddr.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Listen opens the port of the pages; nil: on the network of the machine.
	Listen func(network, address string) (net.Listener, error)
	// Files hold the queues; nil: the file system of the machine.
	Files queue.FS
	// Host is the name of the machine, from which the times of scrapes follow; empty: the name that the machine has.
	Host string
	// Chance makes all random numbers that others can notice; zero: numbers that nobody can predict.
	Chance chance.Source
}

// files returns Files, or the file system of the machine.
func (w World) files() queue.FS {
	if w.Files == nil {
		return queue.OS()
	}
	return w.Files
}
