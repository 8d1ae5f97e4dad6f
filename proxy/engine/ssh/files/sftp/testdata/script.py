# What a script does with Paramiko, on the socket that is named.
import errno, io, os, socket, sys

import paramiko


class Socket(socket.socket):
    def get_name(self):  # Paramiko's channels have one, for its log
        return "socket"


s = Socket(socket.AF_UNIX)
s.connect(sys.argv[1])
c = paramiko.SFTPClient(s)
content = os.urandom(3 << 20)

attributes = c.putfo(io.BytesIO(content), "f")
assert attributes.st_size == len(content)
back = io.BytesIO()
c.getfo("f", back)  # asks for everything before it reads an answer
assert back.getvalue() == content
with c.open("f", "r") as f:
    f.seek(1 << 20)
    assert f.read(100) == content[1 << 20:(1 << 20) + 100]
    assert [bytes(b) for b in f.readv([(5, 10), (100, 20)])] == [content[5:15], content[100:120]]
with c.open("log", "a") as f:
    f.write("a line\n")
    f.flush()
    f.chmod(0o600)
    f.truncate(3)
c.mkdir("d")
c.rename("f", "d/f")
c.posix_rename("log", "d/log")
c.symlink("d/f", "l")
assert c.readlink("l") == "d/f"
assert c.lstat("l").st_size == 3 and c.stat("l").st_size == len(content)
c.utime("d/f", (1, 2))
c.chmod("d/f", 0o640)
assert sorted(a.filename for a in c.listdir_attr("d")) == ["f", "log"]
assert sorted(a.filename for a in c.listdir_iter("d")) == ["f", "log"]
c.chdir("d")
assert c.normalize(".").endswith("/d") and c.stat("log").st_size == 3
c.chdir(None)
c.remove("l")
for refused in (
    lambda: c.open(".ssh/rc", "w"),
    lambda: c.putfo(io.BytesIO(b"key"), "d/authorized_keys"),
    lambda: c.mkdir(".ssh"),
    lambda: c.symlink("/etc/ssh/sshd_config", "x"),
):
    try:
        refused()
    except PermissionError as e:
        assert e.errno == errno.EACCES
    else:
        raise AssertionError("it was done")
try:
    c.stat("nothing")
except FileNotFoundError:
    pass
c.close()
