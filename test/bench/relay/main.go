// Command relay is the yardstick of the benchmarks: it terminates a PostgreSQL client's
// TLS and copies whole protocol messages to the server and back, with no policy, no
// masking and no recording. What the gate costs beyond it is what the gate does.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
)

// sslRequest is the request code of an SSLRequest message (PostgreSQL protocol, section
// "Message Formats").
const sslRequest = 80877103

// maxMessage bounds one message.
const maxMessage = 1 << 24

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	upstream := flag.String("upstream", "", "address of the server")
	cert := flag.String("cert", "", "serving certificate")
	key := flag.String("key", "", "its key")
	flag.Parse()
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			if err := relay(c, *upstream, &tls.Config{Certificates: []tls.Certificate{pair}}); err != nil {
				log.Print(err)
			}
		}()
	}
}

func relay(c net.Conn, upstream string, config *tls.Config) error {
	defer c.Close()
	var request [8]byte
	if _, err := io.ReadFull(c, request[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(request[4:]) != sslRequest {
		return errors.New("the client asks for no TLS")
	}
	if _, err := c.Write([]byte{'S'}); err != nil {
		return err
	}
	client := tls.Server(c, config)
	defer client.Close()
	server, err := net.Dial("tcp", upstream)
	if err != nil {
		return err
	}
	defer server.Close()
	done := make(chan error, 1)
	go func() {
		done <- copyMessages(bufio.NewReaderSize(server, 16<<10), bufio.NewWriterSize(client, 16<<10))
		server.Close()
	}()
	r := bufio.NewReaderSize(client, 16<<10)
	w := bufio.NewWriterSize(server, 16<<10)
	err = startup(r, w)
	if err == nil {
		err = copyMessages(r, w)
	}
	server.Close()
	return errors.Join(unlessEnded(err), unlessEnded(<-done))
}

// unlessEnded returns nil for what a connection says when either side has closed it.
func unlessEnded(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// startup copies the one message without a type byte.
func startup(r *bufio.Reader, w *bufio.Writer) error {
	head, err := r.Peek(4)
	if err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(head))
	if n < 4 || n > maxMessage {
		return errors.New("start-up message out of bounds")
	}
	if _, err := io.CopyN(w, r, n); err != nil {
		return err
	}
	return w.Flush()
}

// copyMessages copies message by message and flushes when no more input is buffered.
func copyMessages(r *bufio.Reader, w *bufio.Writer) error {
	for {
		head, err := r.Peek(5)
		if err != nil {
			return err
		}
		n := int64(binary.BigEndian.Uint32(head[1:]))
		if n < 4 || n > maxMessage {
			return errors.New("message out of bounds")
		}
		if err := copyMessage(r, w, int(n+1)); err != nil {
			return err
		}
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
}

// copyMessage copies n bytes from buffer to buffer. io.CopyN would write each message out
// on its own.
func copyMessage(r *bufio.Reader, w *bufio.Writer, n int) error {
	for n > 0 {
		piece, err := r.Peek(min(n, max(r.Buffered(), 1)))
		if err != nil {
			return err
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
		n -= len(piece)
		if _, err := r.Discard(len(piece)); err != nil {
			return err
		}
	}
	return nil
}
