"""What is remembered: tables, how they look from outside, and how to reach them."""

from models.base import Base
from models.call import Call, CallEvent
from models.order import Order, OrderScope, Service
from models.receipt import Receipt
from models.user import User

__all__ = ["Base", "Call", "CallEvent", "Order", "OrderScope", "Receipt", "Service", "User"]
