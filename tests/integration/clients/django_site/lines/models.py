"""Signalbox's own tables as models that no migration touches."""

from django.db import models


class Connection(models.Model):
    id = models.TextField(primary_key=True)
    name = models.TextField()
    type = models.TextField()
    owner = models.TextField(null=True)
    create_sql = models.TextField()
    generation = models.BigIntegerField()
    created_at = models.DateTimeField()
    altered_at = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = '"mz_catalog"."mz_connections"'


class Status(models.Model):
    connection = models.OneToOneField(
        Connection, models.DO_NOTHING, primary_key=True, db_column="id"
    )
    name = models.TextField()
    type = models.TextField()
    last_status_change_at = models.DateTimeField()
    status = models.TextField()
    error = models.TextField(null=True)

    class Meta:
        managed = False
        db_table = '"mz_internal"."mz_connection_statuses"'


class Event(models.Model):
    # There is no key of one column, and Django 3.2 asks for one.
    connection = models.ForeignKey(Connection, models.DO_NOTHING, related_name="events")
    occurred_at = models.DateTimeField(primary_key=True)
    status = models.TextField()
    error = models.TextField(null=True)

    class Meta:
        managed = False
        db_table = '"mz_internal"."mz_connection_status_history"'


class PrivateLink(models.Model):
    id = models.TextField(primary_key=True)
    principal = models.TextField()

    class Meta:
        managed = False
        db_table = '"mz_catalog"."mz_aws_privatelink_connections"'


class PrivateLinkStatus(models.Model):
    id = models.TextField(primary_key=True)
    name = models.TextField()
    last_status_change_at = models.DateTimeField()
    status = models.TextField()

    class Meta:
        managed = False
        db_table = '"mz_internal"."mz_aws_privatelink_connection_statuses"'


class PrivateLinkEvent(models.Model):
    connection = models.ForeignKey(PrivateLink, models.DO_NOTHING)
    occurred_at = models.DateTimeField(primary_key=True)
    status = models.TextField()

    class Meta:
        managed = False
        db_table = '"mz_internal"."mz_aws_privatelink_connection_status_history"'
