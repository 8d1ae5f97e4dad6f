// Command images builds the project's container images without Docker: from binaries that
// are built already and from programs that Debian's packages put on this machine. An image
// is one layer, byte for byte the same for the same files.
//
// Archives go to a folder, for containerd, kind and k3d; with -push they go to a registry too.
package main

import (
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("images: ")
	var (
		out   = flag.String("out", "bin/images", "folder for the archives, one NAME.tar for each image")
		bin   = flag.String("bin", "bin", "folder with the project's static binaries")
		pause = flag.String("pause", "", "static program that holds a pod's namespaces, for the image pause")
		push  = flag.String("push", "", "registry to push to, for example registry.example.com/team")
	)
	recipes := map[string]func() (*recipe, error){
		"operator":      func() (*recipe, error) { return static(*bin, "cardea-operator") },
		"proxy":         func() (*recipe, error) { return static(*bin, "cardea-proxy") },
		"demo-postgres": demoPostgres,
		"demo-client":   demoClient,
		"demo-host":     demoHost,
		"busybox":       busyboxImage,
		"pause":         func() (*recipe, error) { return pauseImage(*pause) },
	}
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: images [flags] NAME...\nnames: %s\n", strings.Join(slices.Sorted(maps.Keys(recipes)), " "))
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		log.Fatal(err)
	}
	for _, n := range flag.Args() {
		make, ok := recipes[n]
		if !ok {
			log.Fatalf("no image is called %q", n)
		}
		r, err := make()
		if err == nil {
			err = build(r, filepath.Join(*out, n+".tar"), *push)
		}
		if err != nil {
			log.Fatalf("%s: %v", n, err)
		}
	}
}

// build writes the archive, unless it holds the same files already, and pushes the image.
func build(r *recipe, archive, registry string) error {
	key, err := r.key()
	if err != nil {
		return err
	}
	if registry == "" && current(archive, key) {
		return nil
	}
	img, err := r.image()
	if err != nil {
		return err
	}
	if err := writeArchive(img, r.reference, archive); err != nil {
		return err
	}
	if err := os.WriteFile(archive+".key", []byte(key), 0o644); err != nil {
		return err
	}
	fmt.Printf("%s → %s\n", r.reference, archive)
	if registry == "" {
		return nil
	}
	return pushTo(img, registry, r.reference)
}

// current tells whether the archive was built from the files that key stands for.
func current(archive, key string) bool {
	old, err := os.ReadFile(archive + ".key")
	if err != nil || string(old) != key {
		return false
	}
	_, err = os.Stat(archive)
	return err == nil
}

// pushTo pushes under the registry's name: localhost/cardea-proxy:dev becomes
// REGISTRY/cardea-proxy:dev. Credentials are those of `docker login`.
func pushTo(img v1.Image, registry, reference string) error {
	target := strings.TrimSuffix(registry, "/") + "/" + strings.TrimPrefix(reference, "localhost/")
	ref, err := name.ParseReference(target)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, img, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return err
	}
	fmt.Printf("%s → %s\n", reference, target)
	return nil
}
