package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

const usualAddress = "127.0.0.1:9095" // envoy-scraper's default

// scraper is the running envoy-scraper.
type scraper struct {
	*process.Process
	address string
}

// startScraper starts envoy-scraper. It returns when envoy-scraper is ready, which is after its first discovery.
func startScraper(ctx context.Context, o options, config, writeURL string) (*scraper, error) {
	address, err := pageAddress()
	if err != nil {
		return nil, err
	}
	args := []string{
		"--config.file=" + config,
		"--remote-write.url=" + writeURL,
		"--web.listen-address=" + address,
		"--storage.path=" + filepath.Join(o.dir, "data"),
		"--log.level=info",
		"--self-scrape", // for its own dashboard
	}
	if o.kubeBin != "" { // the pods have loopback addresses, which only a file may contain by default
		args = append(args, "--scrape.allow-loopback")
	}
	p, err := process.Start(process.Spec{
		Name:    "envoy-scraper",
		Path:    o.scraper,
		LogFile: filepath.Join(o.dir, "envoy-scraper.log"),
		Args:    args,
	})
	if err != nil {
		return nil, err
	}
	s := &scraper{Process: p, address: address}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := p.WaitReady(ctx, process.Ready(s.url())); err != nil {
		p.Stop(time.Second)
		return nil, err
	}
	return s, nil
}

func (s *scraper) url() string { return "http://" + s.address }

// stop stops envoy-scraper, which delivers its remaining samples first. It returns an error if envoy-scraper has exited
// by itself or its exit code is not 0.
func (s *scraper) stop() error {
	select {
	case <-s.Done():
		return fmt.Errorf("envoy-scraper exited by itself:\n%s", s.Log())
	default:
	}
	if code := s.Stop(15 * time.Second); code != 0 {
		return fmt.Errorf("envoy-scraper exited with code %d:\n%s", code, s.Log())
	}
	return nil
}

// pageAddress returns envoy-scraper's default address, or a free one if the default is in use.
func pageAddress() (string, error) {
	l, err := net.Listen("tcp", usualAddress)
	if err == nil {
		return usualAddress, l.Close()
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0]), nil
}
