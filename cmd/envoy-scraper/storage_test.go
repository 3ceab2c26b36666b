package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStorageOfANewerVersion: after a downgrade the program finds a backlog that it cannot read. It logs that, and
// keeps the backlog for the newer version.
func TestStorageOfANewerVersion(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "envoy-scraper.yml")
	if err := os.WriteFile(file, []byte("remote_write: [{url: 'http://127.0.0.1:1/', name: a}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() (code int, stderr string) {
		var out bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // a start, and a stop at once
		args := []string{"--config.file=" + file, "--storage.path=" + filepath.Join(dir, "data"),
			"--web.listen-address=127.0.0.1:0"}
		code = execute(ctx, args, io.Discard, &out)
		return code, out.String()
	}
	if code, stderr := run(); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	queues, err := filepath.Glob(filepath.Join(dir, "data", "q-*"))
	if err != nil || len(queues) != 1 {
		t.Fatalf("queues: %q, %v", queues, err)
	}
	segment := filepath.Join(queues[0], "00000001-0004-0000-00000001.seg")
	header := make([]byte, 48)
	copy(header, "EsqR\x03\x01")
	binary.LittleEndian.PutUint32(header[44:], crc32.Checksum(header[:44], crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(segment, header, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		code, stderr := run()
		if code != exitRefused {
			t.Errorf("exit code %d, want %d", code, exitRefused)
		}
		for _, want := range []string{segment, "version 3", "left as it is", "move the directory " + queues[0]} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%q does not say %q", stderr, want)
			}
		}
		if b, err := os.ReadFile(segment); err != nil || !bytes.Equal(b, header) {
			t.Errorf("the segment is %q, %v", b, err)
		}
	}
}
