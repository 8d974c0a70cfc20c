"""What is remembered: tables, how they look from outside, and how to reach them."""

from models.base import Base
from models.call import Call, CallEvent
from models.event import Event
from models.order import Order, OrderScope, Service
from models.outbox import Notice
from models.receipt import Receipt
from models.task import Task
from models.user import User

__all__ = ["Base", "Call", "CallEvent", "Event", "Notice", "Order", "OrderScope", "Receipt", "Service", "Task", "User"]
