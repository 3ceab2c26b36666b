// Command image builds the release artifacts of envoy-scraper, without a container daemon: an OCI archive with an image
// for linux/amd64 and linux/arm64, and archives of the program for linux, darwin and windows. Each has a bill of
// materials and a checksum. The same commit gives the same bytes: times are the commit's, owners and order are fixed.
//
// The root certificates are those of Mozilla's NSS. They come from a Go module that go.sum pins, so a build needs no
// other source. NSS trusts some roots only for certificates issued before a date. A PEM file cannot express that, so
// those roots are left out.
//
//	image -root ../.. -out DIR -version V -revision R -epoch SECONDS -ldflags FLAGS image|release
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A build is what all artifacts of a commit have in common.
type build struct {
	root     string // of the repository
	out      string // folder of the artifacts
	version  string
	revision string
	created  time.Time
	compile  func(platform) (string, error) // builds the program for a platform and returns its path
}

// A platform is an operating system and an architecture, as Go and OCI name them.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "-" + p.arch }

func main() {
	log.SetFlags(0)
	var b build
	var epoch int64
	var ldflags string
	flag.StringVar(&b.root, "root", "../..", "folder of the repository")
	flag.StringVar(&b.out, "out", "../../bin", "folder of the artifacts")
	flag.StringVar(&b.version, "version", "unknown", "version, for labels and file names")
	flag.StringVar(&b.revision, "revision", "unknown", "commit, for labels")
	flag.Int64Var(&epoch, "epoch", 0, "time of the commit in seconds since 1970; every file gets it")
	flag.StringVar(&ldflags, "ldflags", "", "ldflags of go build")
	flag.Parse()
	b.created = time.Unix(epoch, 0).UTC()
	b.compile = func(p platform) (string, error) { return compile(b.root, b.out, ldflags, p) }

	var err error
	switch flag.Arg(0) {
	case "image":
		err = b.image()
	case "release":
		err = b.release()
	default:
		err = fmt.Errorf("image or release, not %q", flag.Arg(0))
	}
	if err != nil {
		log.Fatalf("image: %v", err)
	}
}

// compile builds the program for a platform into its own folder and returns its path.
func compile(root, out, ldflags string, p platform) (string, error) {
	name := "envoy-scraper"
	if p.os == "windows" {
		name += ".exe"
	}
	path, err := filepath.Abs(filepath.Join(out, p.String(), name))
	if err != nil {
		return "", err
	}
	// The environment must not choose the variant of an architecture.
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", path,
		"./cmd/envoy-scraper")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOOS="+p.os, "GOARCH="+p.arch, "GOAMD64=v1",
		"GOARM64=v8.0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build for %s: %w\n%s", p, err, out)
	}
	return path, nil
}

// sums writes SHA256SUMS, for sha256sum -c in the same folder.
func sums(dir string, names []string) error {
	slices.Sort(names)
	var list strings.Builder
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%x  %s\n", sha256.Sum256(content), name)
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(list.String()), 0o644)
}
