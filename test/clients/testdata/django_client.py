import io
import os

import django
from django.conf import settings
from django.core.management import call_command

masked = "MASKED" in os.environ
e = os.environ
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": e["PGDATABASE"], "USER": e["PGUSER"], "PASSWORD": e["PGPASSWORD"],
                           "HOST": e["PGHOST"], "PORT": e["PGPORT"], "OPTIONS": {"sslmode": "verify-full", "sslrootcert": e["PGSSLROOTCERT"]}}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"], DEFAULT_AUTO_FIELD="django.db.models.AutoField", USE_TZ=True)
django.setup()

out = io.StringIO()
call_command("inspectdb", stdout=out, stderr=out)
models = out.getvalue()
assert "Unable to inspect" not in models, models
assert "class Orders(models.Model)" in models and "customer = models.ForeignKey(Customers," in models, models
call_command("check", database=["default"], stdout=out)

from django.db import connection, models, transaction  # noqa: E402


class Customer(models.Model):
    name = models.TextField()
    email = models.TextField(null=True)

    class Meta:
        app_label = "auth"
        db_table = "customers"
        managed = False


class Plain(models.Model):
    note = models.TextField(null=True)

    class Meta:
        app_label = "auth"
        db_table = "plain"
        managed = False


ada = Customer.objects.get(pk=1)
print(ada.email)
assert (ada.email != "canary-ada@example.com") == masked
with transaction.atomic():
    p = Plain.objects.create(note="django")
    p.note = "django again"
    p.save()
    with transaction.atomic():
        Plain.objects.bulk_create([Plain(note="django bulk") for _ in range(10)])
assert Plain.objects.filter(note__startswith="django").count() == 11
assert [p.note for p in Plain.objects.filter(note__icontains="BULK").iterator(chunk_size=3)] == ["django bulk"] * 10
assert Plain.objects.filter(note__startswith="django").delete()[0] == 11
call_command("showmigrations", stdout=out)
if not masked:
    # Migrations change definitions in ways that a target with masks does not take.
    call_command("migrate", stdout=out)
    from django.contrib.auth.models import User  # noqa: E402
    User.objects.create_user("django", password="django")
    assert User.objects.filter(username="django").exists()
connection.close()
print("done")
