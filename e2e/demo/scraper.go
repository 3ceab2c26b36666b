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

// startScraper starts envoy-scraper and returns when it is ready, that is after its first look at the pods.
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
	}
	if o.kubeBin != "" { // these pods stand on loopback, and only a list may name such addresses
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

// stop lets envoy-scraper send what it still has. An exit code other than 0 is a fault of its own.
func (s *scraper) stop() error {
	select {
	case <-s.Done():
		return fmt.Errorf("envoy-scraper ended by itself:\n%s", s.Log())
	default:
	}
	if code := s.Stop(15 * time.Second); code != 0 {
		return fmt.Errorf("envoy-scraper ended with exit code %d:\n%s", code, s.Log())
	}
	return nil
}

// pageAddress is the address that the documentation names, or where that is taken a free one.
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
